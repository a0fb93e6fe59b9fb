/* What the mock upstream and the load generator agree on: the text of a stream, time, buffers, sockets. */
#pragma once

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

/* A whole answer holds this text; an answer without it did not come from the mock. */
#define MARKER "The mock upstream wrote this."
/* A prompt that holds this word is answered by a stream that falls silent after its first token. */
#define SILENT "bench:silent"
/* A prompt that holds this word is answered by all events back to back. */
#define FLOOD "bench:flood"
/* Every streamed event carries this many characters of text, whatever the dialect. */
#define TEXT_BYTES 25

/* The text of event `k`: its number, then filler; so that a lost, doubled or swapped event is seen. */
static inline void event_text(unsigned k, char out[TEXT_BYTES + 1]) {
    snprintf(out, TEXT_BYTES + 1, "%06u lorem ipsum dolor ", k % 1000000);
}

static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, errno ? ": %s\n" : "\n", strerror(errno));
    exit(1);
}

static inline int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* Wait for events, but not past `due` (nanoseconds of the monotonic clock; 0: for ever). */
static inline int wait_until(int epoll, struct epoll_event *events, int room, int64_t due) {
    int64_t left = due ? due - now() : 0;
    if (left < 0) left = 0;
    struct timespec t = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
    int n = epoll_pwait2(epoll, events, room, due ? &t : NULL, NULL);
    if (n < 0 && errno != EINTR) die("epoll_pwait2");
    return n < 0 ? 0 : n;
}

/* The kernel may otherwise be 50 us late with every timer. */
static inline void be_punctual(void) { prctl(PR_SET_TIMERSLACK, 1); }

/* Bytes that grow; always followed by a NUL, so that text can be searched in place. */
struct buffer {
    char *data;
    size_t length, room;
};

static inline void buffer_reserve(struct buffer *b, size_t more) {
    if (b->length + more + 1 <= b->room) return;
    b->room = (b->length + more + 1) * 2;
    b->data = realloc(b->data, b->room);
    if (!b->data) die("realloc");
}

static inline void buffer_add(struct buffer *b, const void *bytes, size_t n) {
    buffer_reserve(b, n);
    memcpy(b->data + b->length, bytes, n);
    b->length += n;
    b->data[b->length] = 0;
}

static inline void buffer_drop(struct buffer *b, size_t n) {
    b->length -= n;
    memmove(b->data, b->data + n, b->length);
    if (b->data) b->data[b->length] = 0;
}

static inline struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static inline void make_prompt_socket(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}
