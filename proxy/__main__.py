"""`python -m proxy` is the command `failsoft`."""

from proxy.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
