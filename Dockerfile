# Build:  docker build -t failsoft .
# Run:    docker run --rm -p 8080:8080 -v "$PWD/routes.yaml:/app/routes.yaml:ro" -e OPENAI_API_KEY failsoft
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md routes.yaml ./
COPY proxy ./proxy
RUN python -m venv /opt/failsoft && /opt/failsoft/bin/pip install --no-cache-dir .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/failsoft failsoft
COPY --from=build /opt/failsoft /opt/failsoft
WORKDIR /app
COPY routes.yaml .
USER failsoft
ENV PATH=/opt/failsoft/bin:$PATH FAILSOFT_STATE=/var/lib/failsoft PYTHONUNBUFFERED=1
EXPOSE 8080
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
# Callers from outside the container are not on its loopback: give the tenants in routes.yaml keys, or this start is
# refused with the reason.
ENTRYPOINT ["failsoft", "serve"]
CMD ["/app/routes.yaml", "--host", "0.0.0.0", "--port", "8080"]
