/* An upstream for benchmarks: one thread, epoll, answers at once or streams at an even pace.
 *
 *   mock PORT [EVENTS [INTERVAL_US]]       listens on 127.0.0.1; prints "ready" when it does
 *
 *   POST …/messages      Anthropic's messages dialect; every other POST: OpenAI's chat completions.
 *                        "stream":true streams EVENTS events, each in its own write, INTERVAL_US apart,
 *                        then finish, usage if it was asked for, and the end in one write.
 *                        A prompt that holds SILENT gets the first event and then nothing;
 *                        one that holds FLOOD gets all events at once, each still in its own write.
 *   GET  /stats          counts since the start, as JSON
 *   GET  anything else   a list of one model, so that health checks are content
 */
#include "common.h"

struct shape {
    const char *open, *before, *after, *finish, *usage, *end, *whole;
};

/* before + TEXT_BYTES + after is an event of 200 bytes. */
#define CHUNK                                                                                          \
    "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"    \
    "\"model\":\"bench-model\",\"choices\":["
#define CHUNK_BEFORE CHUNK "{\"index\":0,\"delta\":{\"content\":\""
#define CHUNK_AFTER "\"},\"finish_reason\":null}]}\n\n"
#define USAGE "\"usage\":{\"prompt_tokens\":500,\"completion_tokens\":200,\"total_tokens\":700}"
_Static_assert(sizeof CHUNK_BEFORE - 1 + TEXT_BYTES + sizeof CHUNK_AFTER - 1 == 200, "an event is 200 bytes");

#define SENTENCE "It is one of many sentences that make an answer as long as answers usually are. "
#define PARAGRAPH                                                                                      \
    MARKER " " SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE        \
    SENTENCE SENTENCE

static const struct shape OPENAI_CHAT = {
    .open = CHUNK "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
    .before = CHUNK_BEFORE,
    .after = CHUNK_AFTER,
    .finish = CHUNK "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    .usage = CHUNK "]," USAGE "}\n\n",
    .end = "data: [DONE]\n\n",
    .whole = "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,"
             "\"model\":\"bench-model\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
             "\"content\":\"" PARAGRAPH "\"},\"finish_reason\":\"stop\"}]," USAGE "}",
};

static const struct shape ANTHROPIC_MESSAGES = {
    .open = "event: message_start\n"
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench\",\"type\":\"message\","
            "\"role\":\"assistant\",\"model\":\"bench-model\",\"content\":[],\"stop_reason\":null,"
            "\"stop_sequence\":null,\"usage\":{\"input_tokens\":500,\"output_tokens\":1}}}\n\n"
            "event: content_block_start\n"
            "data: {\"type\":\"content_block_start\",\"index\":0,"
            "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    .before = "event: content_block_delta\n"
              "data: {\"type\":\"content_block_delta\",\"index\":0,"
              "\"delta\":{\"type\":\"text_delta\",\"text\":\"",
    .after = "\"}}\n\n",
    .finish = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
              "event: message_delta\n"
              "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
              "\"stop_sequence\":null},\"usage\":{\"output_tokens\":200}}\n\n",
    .usage = "",
    .end = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    .whole = "{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench-model\","
             "\"content\":[{\"type\":\"text\",\"text\":\"" PARAGRAPH "\"}],\"stop_reason\":\"end_turn\","
             "\"stop_sequence\":null,\"usage\":{\"input_tokens\":500,\"output_tokens\":200}}",
};

static const char *MODELS = "{\"object\":\"list\",\"data\":[{\"id\":\"bench-model\",\"object\":\"model\","
                            "\"created\":1700000000,\"owned_by\":\"bench\"}]}";

struct connection {
    int fd;
    struct buffer in, out;
    const struct shape *shape; /* of the stream that is being sent; NULL: waiting for a request */
    bool silent, wants_usage, is_blocked;
    int sent;    /* events of this stream */
    int64_t due; /* of the next event */
    struct connection *earlier, *later;
};

static int epoll, event_count = 200;
static int64_t interval = 20 * 1000 * 1000;

/* Streams that wait for their next event. The interval is the same for all, so first in is first due. */
static struct connection *first_due, *last_due;

static struct {
    long connections, requests, streams, events, open, aborted;
    int64_t last_abort;
} stats;

static void enqueue(struct connection *c) {
    c->earlier = last_due;
    c->later = NULL;
    *(last_due ? &last_due->later : &first_due) = c;
    last_due = c;
}

static void dequeue(struct connection *c) {
    if (c != first_due && !c->earlier) return; /* a silent stream waits for nothing */
    *(c->earlier ? &c->earlier->later : &first_due) = c->later;
    *(c->later ? &c->later->earlier : &last_due) = c->earlier;
    c->earlier = c->later = NULL;
}

static void watch(struct connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event)) die("epoll_ctl");
}

static void hang_up(struct connection *c) {
    if (c->shape) {
        dequeue(c);
        stats.open--;
        stats.aborted++;
        stats.last_abort = now();
    }
    stats.connections--;
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

/* Write what can be written now and keep the rest; a lost peer is noticed when it is next read from. */
static void transmit(struct connection *c, const char *bytes, size_t n) {
    if (!c->out.length) {
        ssize_t written = send(c->fd, bytes, n, MSG_NOSIGNAL);
        if (written == (ssize_t)n || (written < 0 && errno != EAGAIN)) return;
        if (written > 0) bytes += written, n -= written;
    }
    buffer_add(&c->out, bytes, n);
    if (!c->is_blocked) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    c->is_blocked = true;
}

static void resume(struct connection *c) {
    ssize_t written = send(c->fd, c->out.data, c->out.length, MSG_NOSIGNAL);
    if (written <= 0) return;
    buffer_drop(&c->out, written);
    if (c->out.length) return;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->is_blocked = false;
}

static void answer(struct connection *c, const char *status, const char *body) {
    char text[8192];
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", status,
                     strlen(body), body);
    transmit(c, text, n);
}

static void answer_stats(struct connection *c) {
    char text[512];
    snprintf(text, sizeof text,
             "{\"connections\":%ld,\"requests\":%ld,\"streams\":%ld,\"events\":%ld,\"open\":%ld,"
             "\"aborted\":%ld,\"last_abort\":%lld}",
             stats.connections, stats.requests, stats.streams, stats.events, stats.open, stats.aborted,
             (long long)stats.last_abort);
    answer(c, "200 OK", text);
}

/* One write: an HTTP chunk that holds the concatenation of the parts. */
static void send_chunk(struct connection *c, const char *prefix, const char *a, const char *b, const char *d,
                       const char *suffix) {
    char text[4096];
    int n = snprintf(text, sizeof text, "%s%zx\r\n%s%s%s\r\n%s", prefix, strlen(a) + strlen(b) + strlen(d), a, b,
                     d, suffix);
    transmit(c, text, n);
}

/* Send the end of a stream. */
static void finish(struct connection *c) {
    send_chunk(c, "", c->shape->finish, c->wants_usage ? c->shape->usage : "", c->shape->end, "0\r\n\r\n");
    c->shape = NULL;
    stats.open--;
}

static void send_event(struct connection *c) {
    char text[TEXT_BYTES + 1];
    event_text(c->sent++, text);
    send_chunk(c, "", c->shape->before, text, c->shape->after, "");
    stats.events++;
}

/* Send what is due of the stream that is first in the queue. */
static void advance(struct connection *c) {
    dequeue(c);
    if (c->sent == event_count) {
        finish(c);
        return;
    }
    send_event(c);
    if (c->silent) return;
    c->due += interval;
    enqueue(c);
}

static void start_stream(struct connection *c, const struct shape *shape, const char *body) {
    c->shape = shape;
    c->sent = 0;
    c->silent = strstr(body, SILENT) != NULL;
    c->wants_usage = strstr(body, "\"include_usage\":true") || strstr(body, "\"include_usage\": true");
    c->due = now() + interval;
    stats.streams++;
    stats.open++;
    send_chunk(c,
               "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
               "transfer-encoding: chunked\r\n\r\n",
               shape->open, "", "", "");
    if (!strstr(body, FLOOD)) {
        enqueue(c);
        return;
    }
    while (c->sent < event_count) send_event(c);
    finish(c);
}

/* Serve the request at the start of the buffer; false if it is not whole yet. */
static bool serve(struct connection *c) {
    char *blank = c->in.length ? strstr(c->in.data, "\r\n\r\n") : NULL;
    if (!blank) return false;
    char *body = blank + 4;
    *blank = 0;
    char *length = strcasestr(c->in.data, "\r\ncontent-length:");
    size_t size = length ? strtoul(length + 17, NULL, 10) : 0;
    *blank = '\r';
    size_t whole = body - c->in.data + size;
    if (c->in.length < whole) return false;

    char after = c->in.data[whole];
    c->in.data[whole] = 0;
    if (!strncmp(c->in.data, "GET ", 4)) {
        if (!strncmp(c->in.data + 4, "/stats ", 7)) answer_stats(c);
        else answer(c, "200 OK", MODELS);
    } else if (!size) {
        answer(c, "411 Length Required", "{\"error\":{\"message\":\"a content-length is needed\"}}");
    } else {
        size_t line = strcspn(c->in.data, "\r");
        const struct shape *shape =
            memmem(c->in.data, line, "/messages", 9) ? &ANTHROPIC_MESSAGES : &OPENAI_CHAT;
        stats.requests++;
        if (strstr(body, "\"stream\":true") || strstr(body, "\"stream\": true")) start_stream(c, shape, body);
        else answer(c, "200 OK", shape->whole);
    }
    c->in.data[whole] = after;
    buffer_drop(&c->in, whole);
    return true;
}

/* Read what there is; false if the peer has gone. */
static bool receive(struct connection *c) {
    buffer_reserve(&c->in, 16384);
    ssize_t n = recv(c->fd, c->in.data + c->in.length, 16384, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    c->in.length += n;
    c->in.data[c->in.length] = 0;
    while (!c->shape && serve(c)) {}
    return true;
}

static void admit(int listener) {
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            if (errno == EAGAIN) return;
            die("accept");
        }
        make_prompt_socket(fd);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        stats.connections++;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) die("port %d", port);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int main(int count, char **words) {
    if (count < 2) die("usage: mock PORT [EVENTS [INTERVAL_US]]");
    if (count > 2) event_count = atoi(words[2]);
    if (count > 3) interval = atoll(words[3]) * 1000;
    int listener = listen_on(atoi(words[1]));
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    be_punctual();
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = wait_until(epoll, ready, 256, first_due ? first_due->due : 0);
        for (int i = 0; i < n; i++) {
            struct connection *c = ready[i].data.ptr;
            if (!c) {
                admit(listener);
                continue;
            }
            if (ready[i].events & EPOLLOUT) resume(c);
            if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !receive(c)) hang_up(c);
        }
        while (first_due && first_due->due <= now()) advance(first_due);
    }
}
