/* A load generator: one thread, epoll. Prints what it measured as one JSON object per line.
 *
 *   load requests PORT PATH KEY MODEL CONNECTIONS MILLISECONDS RATE
 *       RATE 0: closed loop, each connection asks again as soon as it is answered. Otherwise RATE requests
 *       per second, each timed from the moment it was due: a slow server cannot hide its delays by
 *       slowing the questions (no coordinated omission).
 *   load streams PORT PATH KEY MODEL STREAMS EVENTS INTERVAL_US
 *       the streams start evenly spread over one interval; their text is compared with what the mock sent
 *   load flood PORT PATH KEY MODEL STREAMS EVENTS
 *       the same with streams that start at once and are sent as fast as they are taken
 *   load silent PORT PATH KEY MODEL STREAMS
 *       opens streams that fall silent after one event, prints, waits for a line on standard input,
 *       drops them all, prints when
 */
#include "answer.h"

#define BODY_BYTES 2048

struct client {
    int fd;
    struct answer answer;
    int64_t started;  /* when the request was due */
    size_t delivered; /* characters of streamed text */
    int events;       /* that carried them */
    bool is_done, has_ended;
};

static int epoll, port;
static char *request;
static size_t request_length;
static long errors;
static char first_error[512];

static void note_error(const struct client *c, const char *what) {
    if (errors++) return;
    const char *body = c->answer.body.length ? c->answer.body.data : "";
    int n = snprintf(first_error, sizeof first_error, "%s; status %d; %.300s", what, c->answer.status, body);
    for (int i = 0; i < n && i < (int)sizeof first_error; i++)
        if (first_error[i] == '"' || first_error[i] == '\\' || first_error[i] < ' ') first_error[i] = '\'';
}

/* A prompt that makes the body BODY_BYTES long. */
static void compose(const char *path, const char *key, const char *model, bool streams, const char *prompt) {
    char body[BODY_BYTES + 1], text[BODY_BYTES + 1024];
    int n = snprintf(body, sizeof body,
                     "{\"model\":\"%s\",\"stream\":%s,\"temperature\":0.2,\"messages\":["
                     "{\"role\":\"system\",\"content\":\"You are brief.\"},"
                     "{\"role\":\"user\",\"content\":\"%s ",
                     model, streams ? "true" : "false", prompt);
    for (; n < BODY_BYTES - 4; n++) body[n] = n % 7 ? 'a' + n % 26 : ' ';
    strcpy(body + n, "\"}]}");
    request_length = snprintf(text, sizeof text,
                              "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nauthorization: Bearer %s\r\n"
                              "content-type: application/json\r\naccept: */*\r\nuser-agent: load/1\r\n"
                              "content-length: %zu\r\n\r\n%s",
                              path, port, key, strlen(body), body);
    request = strdup(text);
}

static void dial(struct client *c) {
    struct sockaddr_in address = loopback(port);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect to %d", port);
    make_prompt_socket(c->fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

static void redial(struct client *c) {
    close(c->fd);
    dial(c);
}

static void ask(struct client *c, int64_t due) {
    c->started = due;
    c->is_done = false;
    answer_reset(&c->answer);
    ssize_t written = send(c->fd, request, request_length, MSG_NOSIGNAL);
    if (written < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        redial(c);
        written = send(c->fd, request, request_length, MSG_NOSIGNAL);
    }
    if (written != (ssize_t)request_length) die("a request did not fit into the socket's buffer");
}

/* Read what has come; false if the connection is lost. */
static bool receive(struct client *c) {
    static char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) {
        answer_end(&c->answer);
        return false;
    }
    answer_feed(&c->answer, bytes, n);
    return true;
}

/* ---- requests ---- */

static int64_t *samples;
static size_t sample_count, sample_room;

static void record(int64_t nanoseconds) {
    if (sample_count == sample_room) {
        sample_room = sample_room ? sample_room * 2 : 65536;
        samples = realloc(samples, sample_room * sizeof *samples);
        if (!samples) die("realloc");
    }
    samples[sample_count++] = nanoseconds;
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(double part) {
    if (!sample_count) return 0;
    size_t rank = part * sample_count;
    return samples[rank < sample_count ? rank : sample_count - 1] / 1e6;
}

/* Judge a finished answer and make the connection ready for the next request. */
static void settle(struct client *c, bool is_connected) {
    if (c->answer.phase != COMPLETE) note_error(c, "the answer is not whole");
    else if (c->answer.status != 200) note_error(c, "the answer is not 200");
    else if (!strstr(c->answer.body.data, MARKER)) note_error(c, "the mock did not write the answer");
    else record(now() - c->started);
    c->is_done = true;
    if (!is_connected || !c->answer.keeps_alive || c->answer.phase == BROKEN) redial(c);
}

static void load_requests(int connections, int64_t duration, int rate) {
    struct client *clients = calloc(connections, sizeof *clients), **idle = calloc(connections, sizeof *idle);
    struct epoll_event ready[256];
    int idle_count = 0;
    long asked = 0;
    for (int i = 0; i < connections; i++) {
        dial(&clients[i]);
        clients[i].is_done = true;
        idle[idle_count++] = &clients[i];
    }
    int64_t start = now(), end = start + duration, period = rate ? SECOND / rate : 0;
    while (now() < end || idle_count < connections) {
        int64_t due = rate ? start + asked * period : now();
        while (idle_count && due <= now() && due < end) {
            ask(idle[--idle_count], due);
            asked++;
            due = rate ? start + asked * period : now();
        }
        int64_t wake = idle_count && due < end ? due : end + 30 * SECOND;
        if (idle_count == connections && due >= end) break;
        int n = wait_until(epoll, ready, 256, wake);
        if (!n && now() >= end + 30 * SECOND) die("%d requests are unanswered", connections - idle_count);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            bool is_connected = receive(c);
            if (c->is_done) {
                if (!is_connected) redial(c); /* an idle connection was closed */
            } else if (!is_connected || c->answer.phase >= COMPLETE) {
                settle(c, is_connected);
                idle[idle_count++] = c;
            }
        }
    }
    double seconds = (now() - start) / 1e9;
    qsort(samples, sample_count, sizeof *samples, by_size);
    printf("{\"requests\":%zu,\"seconds\":%.6f,\"p50_ms\":%.4f,\"p90_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f,"
           "\"errors\":%ld,\"first_error\":\"%s\"}\n",
           sample_count, seconds, percentile_ms(0.5), percentile_ms(0.9), percentile_ms(0.99), percentile_ms(1),
           errors, first_error);
}

/* ---- streams ---- */

/* Compare the text of one event with the next characters that the mock has sent. */
static bool accept_text(struct client *c, const char *text, size_t n) {
    char expected[TEXT_BYTES + 1];
    for (size_t i = 0; i < n; i++, c->delivered++) {
        if (!i || c->delivered % TEXT_BYTES == 0) event_text(c->delivered / TEXT_BYTES, expected);
        if (text[i] != expected[c->delivered % TEXT_BYTES]) return false;
    }
    c->events++;
    return true;
}

/* Read one line of an event stream; false if it is not what the mock sent. */
static bool accept_line(struct client *c, const char *line) {
    if (strncmp(line, "data:", 5)) return true;
    if (strstr(line, "[DONE]")) return c->has_ended = true;
    const char *text = strstr(line, "\"content\":");
    if (!text) return true;
    text += strspn(text + 10, " ") + 10;
    size_t n = *text == '"' ? strcspn(text + 1, "\"") : 0;
    return !n || accept_text(c, text + 1, n);
}

static bool accept_lines(struct client *c) {
    struct buffer *body = &c->answer.body;
    size_t read = 0;
    for (char *end; body->length > read && (end = memchr(body->data + read, '\n', body->length - read));) {
        *end = 0;
        if (!accept_line(c, body->data + read)) return false;
        read = end + 1 - body->data;
    }
    if (read) buffer_drop(body, read);
    return true;
}

/* Take what has come for a stream; true once it is over, well or not. */
static bool follow(struct client *c, size_t expected) {
    bool is_connected = receive(c);
    if (c->answer.phase != HEAD && c->answer.status != 200) {
        if (is_connected && c->answer.phase < COMPLETE) return false;
        note_error(c, "the answer is not 200");
    } else if (!accept_lines(c)) note_error(c, "a stream differs from what the mock sent");
    else if (is_connected && c->answer.phase < COMPLETE) return false;
    else if (c->answer.phase == BROKEN) note_error(c, "a stream is not whole");
    else if (c->delivered != expected || !c->has_ended) note_error(c, "a stream ended early");
    close(c->fd);
    return c->is_done = true;
}

static void load_streams(int streams, int events, int64_t interval) {
    struct client *clients = calloc(streams, sizeof *clients);
    struct epoll_event ready[256];
    int started = 0, done = 0;
    long received = 0;
    int64_t start = now(), give_up = start + events * interval * 3 + 60 * SECOND;
    while (done < streams) {
        int64_t due = start + started * interval / streams;
        for (; started < streams && due <= now(); due = start + started * interval / streams) {
            dial(&clients[started]);
            ask(&clients[started++], due);
        }
        int n = wait_until(epoll, ready, 256, started < streams ? due : give_up);
        if (now() >= give_up) die("%d of %d streams did not end", streams - done, streams);
        for (int i = 0; i < n; i++) done += follow(ready[i].data.ptr, (size_t)events * TEXT_BYTES);
    }
    for (int i = 0; i < streams; i++) received += clients[i].events;
    printf("{\"streams\":%d,\"events\":%ld,\"seconds\":%.6f,\"errors\":%ld,\"first_error\":\"%s\"}\n", streams,
           received, (now() - start) / 1e9, errors, first_error);
}

/* ---- silent streams ---- */

/* The most streams that may be waiting for their first event, so that no accept queue overflows. */
#define OPENING 64

static void load_silent(int streams) {
    struct client *clients = calloc(streams, sizeof *clients);
    struct epoll_event ready[256];
    int started = 0, open = 0;
    int64_t start = now(), give_up = start + 30 * SECOND;
    while (open < streams) {
        for (; started < streams && started - open < OPENING; started++) {
            dial(&clients[started]);
            ask(&clients[started], now());
        }
        int n = wait_until(epoll, ready, 256, give_up);
        if (now() >= give_up) die("%d of %d streams did not open", streams - open, streams);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            if (!receive(c) || c->answer.phase >= COMPLETE || !accept_lines(c)) {
                note_error(c, "a silent stream ended");
                die("%s", first_error);
            }
            if (c->events && !c->is_done) c->is_done = true, open++;
        }
    }
    printf("{\"open\":%d,\"seconds\":%.6f}\n", open, (now() - start) / 1e9);
    fflush(stdout);

    char line[8], byte;
    if (!fgets(line, sizeof line, stdin)) die("standard input ended");
    int alive = 0;
    for (int i = 0; i < streams; i++) {
        ssize_t n = recv(clients[i].fd, &byte, 1, MSG_PEEK);
        alive += n > 0 || (n < 0 && errno == EAGAIN);
    }
    int64_t abandoned = now();
    for (int i = 0; i < streams; i++) close(clients[i].fd);
    printf("{\"alive\":%d,\"abandoned\":%lld}\n", alive, (long long)abandoned);
}

int main(int count, char **words) {
    if (count < 7) die("usage: load requests|streams|flood|silent PORT PATH KEY MODEL …");
    const char *mode = words[1];
    bool is_silent = !strcmp(mode, "silent"), is_flood = !strcmp(mode, "flood");
    port = atoi(words[2]);
    epoll = epoll_create1(0);
    be_punctual();
    compose(words[3], words[4], words[5], strcmp(mode, "requests"),
            is_silent ? SILENT : is_flood ? FLOOD : "Say something.");
    if (!strcmp(mode, "requests") && count == 9)
        load_requests(atoi(words[6]), atoll(words[7]) * 1000000, atoi(words[8]));
    else if (!strcmp(mode, "streams") && count == 9)
        load_streams(atoi(words[6]), atoi(words[7]), atoll(words[8]) * 1000);
    else if (is_flood && count == 8) load_streams(atoi(words[6]), atoi(words[7]), 0);
    else if (is_silent && count == 7) load_silent(atoi(words[6]));
    else die("load %s: wrong number of words", mode);
}
