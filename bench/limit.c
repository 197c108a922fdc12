// limit: what one core of this machine can do at most for the same work, in C with no logic at all.
//
//   limit PORT
//
// UDP on PORT: every datagram is answered with a fixed RegisterPeerResponse (recvmmsg, sendmmsg).
// TCP on PORT and PORT-1: every request is answered with a fixed TestNatResponse.
// TCP on PORT+1: two connections that begin with the same frame are joined; splice(2) moves their bytes.
// Prints "ready" once it listens.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UDP, LISTEN, LISTEN_RELAY, REQUEST, RELAY_REQUEST, HALF, JOINED };

typedef struct side {
  int fd, kind, pipe_out, pipe_in, in_pipe, first_length;
  struct side *other;
  unsigned char first[256];
} side;

static int ep;
static side *waiting[65536];
static unsigned char nat_answer[] = {0x18, 0xaa, 0x01, 0x03, 0x08, 0x80, 0x50};
static unsigned char heartbeat_answer[] = {0x3a, 0x00};

static void watch(side *s, int events, int op) {
  struct epoll_event e = {.events = events, .data.ptr = s};
  epoll_ctl(ep, op, s->fd, &e);
}

static side *make(int fd, int kind) {
  side *s = calloc(1, sizeof *s);
  s->fd = fd;
  s->kind = kind;
  watch(s, EPOLLIN, EPOLL_CTL_ADD);
  return s;
}

static int open_port(int type, int port) {
  int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0), on = 1, size = 8 << 20;
  if (type == SOCK_STREAM) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  else if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (bind(fd, (void *)&a, sizeof a) || (type == SOCK_STREAM && listen(fd, 1024))) {
    perror("limit: port");
    exit(2);
  }
  return fd;
}

static void heartbeats(int fd) {
  enum { N = 64 };
  static struct mmsghdr m[N];
  static struct iovec v[N], out;
  static unsigned char b[N][512];
  static struct sockaddr_in from[N];
  out = (struct iovec){heartbeat_answer, sizeof heartbeat_answer};
  for (;;) {
    for (int i = 0; i < N; i++) {
      v[i] = (struct iovec){b[i], sizeof b[i]};
      m[i].msg_hdr = (struct msghdr){
          .msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &v[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(fd, m, N, MSG_DONTWAIT, NULL);
    if (n <= 0) return;
    for (int i = 0; i < n; i++) m[i].msg_hdr.msg_iov = &out;
    sendmmsg(fd, m, n, 0);
    if (n < N) return;
  }
}

// Ends a side; what is left of it stays allocated, because an event for it may already be on the way.
static void close_side(side *s) {
  if (s->fd < 0) return;
  close(s->fd);
  s->fd = -1;
  if (s->kind != JOINED) return;
  close(s->pipe_out);
  close(s->pipe_in);
}

static void drop(side *s) {
  side *other = s->other;
  if (s->fd < 0) return;
  close_side(s);
  if (other) close_side(other);
}

// Moves bytes from s to its other side; both are level-triggered.
static void pump(side *s) {
  for (int round = 0; round < 4; round++) {
    if (!s->in_pipe) {
      ssize_t n = splice(s->fd, NULL, s->pipe_in, NULL, 1 << 20, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        drop(s);
        return;
      }
      s->in_pipe = n;
    }
    while (s->in_pipe) {
      ssize_t n = splice(s->pipe_out, NULL, s->other->fd, NULL, s->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (n <= 0) {
        if (errno != EAGAIN) {
          drop(s);
          return;
        }
        watch(s, 0, EPOLL_CTL_MOD);
        watch(s->other, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
        return;
      }
      s->in_pipe -= n;
    }
  }
}

static void join(side *s) {
  unsigned hash = 5381;
  for (int i = 0; i < s->first_length; i++) hash = hash * 33 + s->first[i];
  hash &= 65535;
  side *other = waiting[hash];
  if (!other) {
    waiting[hash] = s;
    s->kind = HALF;
    return;
  }
  waiting[hash] = NULL;
  s->other = other;
  other->other = s;
  for (int i = 0; i < 2; i++, s = other) {
    int p[2];
    if (pipe2(p, O_NONBLOCK)) {
      perror("limit: pipe");
      exit(3);
    }
    s->kind = JOINED;
    s->pipe_out = p[0];
    s->pipe_in = p[1];
    fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
  }
}

static void accept_all(side *s) {
  int fd, on = 1;
  for (int k = 0; k < 64 && (fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0; k++) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    unsigned char b[4096];
    if (s->kind == LISTEN && recv(fd, b, sizeof b, 0) > 0) {
      send(fd, nat_answer, sizeof nat_answer, MSG_NOSIGNAL);
      close(fd);
    } else {
      make(fd, s->kind == LISTEN_RELAY ? RELAY_REQUEST : REQUEST);
    }
  }
}

static void answer(side *s) {
  unsigned char b[4096];
  if (recv(s->fd, b, sizeof b, 0) > 0) send(s->fd, nat_answer, sizeof nat_answer, MSG_NOSIGNAL);
  close(s->fd);
  free(s);
}

static void relay_request(side *s) {
  unsigned char b[2];
  if (recv(s->fd, b, 2, MSG_PEEK) < 2) {
    drop(s);
    return;
  }
  int header = (b[0] & 3) + 1, length = header + ((b[0] | (header > 1 ? b[1] << 8 : 0)) >> 2);
  s->first_length = recv(s->fd, s->first, length < 256 ? length : 256, 0);
  join(s);
}

static void joined(side *s, int events) {
  if (!(events & EPOLLOUT)) {
    pump(s);
    return;
  }
  watch(s, EPOLLIN, EPOLL_CTL_MOD);
  if (s->other->fd < 0) return;
  watch(s->other, EPOLLIN, EPOLL_CTL_MOD);
  pump(s->other);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: limit PORT\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);  // splice to a socket that is gone
  int port = atoi(argv[1]);
  ep = epoll_create1(0);
  make(open_port(SOCK_DGRAM, port), UDP);
  make(open_port(SOCK_STREAM, port), LISTEN);
  make(open_port(SOCK_STREAM, port - 1), LISTEN);
  make(open_port(SOCK_STREAM, port + 1), LISTEN_RELAY);
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    struct epoll_event e[256];
    int n = epoll_wait(ep, e, 256, -1);
    for (int i = 0; i < n; i++) {
      side *s = e[i].data.ptr;
      if (s->fd < 0) continue;
      switch (s->kind) {
        case UDP: heartbeats(s->fd); break;
        case LISTEN:
        case LISTEN_RELAY: accept_all(s); break;
        case REQUEST: answer(s); break;
        case RELAY_REQUEST: relay_request(s); break;
        case JOINED: joined(s, e[i].events); break;
        default: drop(s);  // HALF: something came, or it ended, before the other half
      }
    }
  }
}
