/* An incremental reader of HTTP/1.1 answers: bytes in, body out. */
#pragma once

#include "common.h"

enum phase { HEAD, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, TO_THE_END, COMPLETE, BROKEN };

struct answer {
    enum phase phase;
    int status;
    bool keeps_alive;
    size_t left;        /* of the body, or of this chunk */
    struct buffer line; /* the head, or the line of framing that is being read */
    struct buffer body;
};

static inline void answer_reset(struct answer *a) {
    a->phase = HEAD;
    a->line.length = a->body.length = 0;
}

static inline void answer_read_head(struct answer *a) {
    const char *length = strcasestr(a->line.data, "\r\ncontent-length:");
    a->status = a->line.length > 12 ? atoi(a->line.data + 9) : 0;
    a->keeps_alive = !strcasestr(a->line.data, "\r\nconnection: close");
    a->left = length ? strtoul(length + 17, NULL, 10) : 0;
    if (a->status < 100) a->phase = BROKEN;
    else if (a->status < 200) a->phase = HEAD;
    else if (strcasestr(a->line.data, "\r\ntransfer-encoding: chunked")) a->phase = CHUNK_SIZE;
    else if (length) a->phase = a->left ? SIZED : COMPLETE;
    else a->phase = TO_THE_END;
    a->line.length = 0;
}

/* A line of framing has ended. */
static inline void answer_read_line(struct answer *a) {
    switch (a->phase) {
    case HEAD:
        if (a->line.length >= 4 && !memcmp(a->line.data + a->line.length - 4, "\r\n\r\n", 4)) answer_read_head(a);
        return;
    case CHUNK_SIZE:
        a->left = strtoul(a->line.data, NULL, 16);
        a->phase = a->left ? CHUNK_DATA : TRAILER;
        break;
    case CHUNK_END:
        a->phase = CHUNK_SIZE;
        break;
    case TRAILER:
        if (a->line.length == 2) a->phase = COMPLETE;
        break;
    default:
        a->phase = BROKEN;
    }
    a->line.length = 0;
}

/* Take bytes of the answer; those past its end are an error of the server and break it. */
static inline void answer_feed(struct answer *a, const char *bytes, size_t n) {
    while (n && a->phase != BROKEN) {
        size_t taken;
        if (a->phase == SIZED || a->phase == CHUNK_DATA) {
            taken = n < a->left ? n : a->left;
            buffer_add(&a->body, bytes, taken);
            a->left -= taken;
            if (!a->left) a->phase = a->phase == SIZED ? COMPLETE : CHUNK_END;
        } else if (a->phase == TO_THE_END) {
            taken = n;
            buffer_add(&a->body, bytes, n);
        } else if (a->phase == COMPLETE) {
            a->phase = BROKEN;
            return;
        } else {
            const char *newline = memchr(bytes, '\n', n);
            taken = newline ? (size_t)(newline - bytes) + 1 : n;
            buffer_add(&a->line, bytes, taken);
            if (newline) answer_read_line(a);
        }
        bytes += taken;
        n -= taken;
    }
}

/* The server has closed: the end of an answer without a length, a fault in every other. */
static inline void answer_end(struct answer *a) {
    if (a->phase == TO_THE_END) a->phase = COMPLETE, a->keeps_alive = false;
    else if (a->phase != COMPLETE) a->phase = BROKEN;
}
