// load: closed-loop load for an ID server and a relay, one core, no dependencies.
// Each simulated client has a source address of its own in OCTET/8; the result tells what the *server* spent.
//
//   load regpk   first registrations (RegisterPk), all of them confirmed
//   load back    one heartbeat (RegisterPeer) from each peer, all of them answered
//   load reg     heartbeats in turn for SECONDS
//   load beat    heartbeats at RATE from PEERS of its own, registered first, until SIGTERM: their latency
//   load punch   whole TCP punches between PEERS registered first: two connections and a datagram each
//   load nat     TestNatRequest, a connection each, to PORT-1
//   load online  OnlineRequest of PEERS ids, a connection each, to PORT-1
//   load relay   bytes one way through PEERS pairs
//   load ping    100 bytes through one pair, one way after the other, for SECONDS: their latency
//
//   -h HOST  -P PORT  -p PID of the server  -s OCTET of the sources  -n PEERS  -f FIRST id  -w WINDOW
//   -t SECONDS  -r RATE a second  -b MEGABYTES a pair  -c CHUNK of a write  -k KEY
//
// Prints one line of JSON; "lost" counts all that was lost, refused or wrong, and makes the exit code 1.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Second octets of the sources; a million peers take sixteen.
enum { NET_PEERS = 16, NET_BEAT = 40, NET_PUNCHED = 64, NET_SHORT = 96, NET_ASKING = 128, NET_ANSWERING = 160 };

static const char *host = "127.0.0.1", *key = "";
static int port = 21116, peers = 1000, first_id, window, chunk = 65536, pid, octet = 127, rate = 200;
static double seconds = 5, megabytes = 256;
static struct sockaddr_in server;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(2);
}

static void *zeroed(size_t count, size_t size) {
  void *p = calloc(count, size);
  if (!p) die("memory");
  return p;
}

static double warm_up(void) { return seconds < 2 ? seconds / 2 : 1; }

// ---- what the server spends: CPU seconds (user and system) and resident memory, children included ----

static double cpu_of(int p) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(p, &clock) || clock_gettime(clock, &t)) return 0;
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double resident_of(int p) {
  char name[64];
  long size, resident = 0;
  snprintf(name, sizeof name, "/proc/%d/statm", p);
  FILE *f = fopen(name, "r");
  if (!f) return 0;
  if (fscanf(f, "%ld %ld", &size, &resident) != 2) resident = 0;
  fclose(f);
  return (double)resident * sysconf(_SC_PAGESIZE) / 1048576.0;
}

static double of_server(double (*measure)(int)) {
  if (pid <= 0) return 0;
  double sum = measure(pid);
  char name[64], text[4096];
  snprintf(name, sizeof name, "/proc/%d/task/%d/children", pid, pid);
  FILE *f = fopen(name, "r");
  if (!f) return sum;
  size_t n = fread(text, 1, sizeof text - 1, f);
  text[n] = 0;
  fclose(f);
  for (char *child = strtok(text, " "); child; child = strtok(NULL, " ")) sum += measure(atoi(child));
  return sum;
}

static double each(double count, double per) { return per > 0 ? count / per : 0; }

// ---- the little of protobuf and of the framing that is needed ----

typedef struct {
  uint8_t b[4096];
  int n;
} buffer;

static void put_varint(buffer *o, uint64_t v) {
  for (; v > 127; v >>= 7) o->b[o->n++] = (v & 127) | 128;
  o->b[o->n++] = v;
}

static void put_bytes(buffer *o, int field, const void *p, int n) {
  put_varint(o, field << 3 | 2);
  put_varint(o, n);
  memcpy(o->b + o->n, p, n);
  o->n += n;
}

static void put_text(buffer *o, int field, const char *s) {
  if (*s) put_bytes(o, field, s, strlen(s));
}

static void put_number(buffer *o, int field, uint64_t v) {
  put_varint(o, field << 3);
  put_varint(o, v);
}

static buffer wrap(int field, const buffer *m) {
  buffer o;
  o.n = 0;
  put_bytes(&o, field, m->b, m->n);
  return o;
}

static buffer frame(const buffer *m) {
  buffer o;
  o.n = 0;
  if (m->n <= 0x3f) {
    o.b[o.n++] = m->n << 2;
  } else {
    uint32_t header = m->n << 2 | 1;
    o.b[o.n++] = header;
    o.b[o.n++] = header >> 8;
  }
  memcpy(o.b + o.n, m->b, m->n);
  o.n += m->n;
  return o;
}

static const uint8_t *get_varint(const uint8_t *p, const uint8_t *end, uint64_t *v) {
  *v = 0;
  for (int shift = 0; p < end && shift < 64; shift += 7) {
    *v |= (uint64_t)(*p & 127) << shift;
    if (!(*p++ & 128)) return p;
  }
  return end;
}

// The content of the length-delimited field `wanted` in [p, end), its length in *n; NULL without it.
static const uint8_t *find(const uint8_t *p, const uint8_t *end, int wanted, int *n) {
  while (p < end) {
    uint64_t tag, value;
    p = get_varint(p, end, &tag);
    p = get_varint(p, end, &value);
    if ((tag & 7) != 2) continue;
    if (value > (uint64_t)(end - p)) return NULL;
    if ((int)(tag >> 3) == wanted) {
      *n = value;
      return p;
    }
    p += value;
  }
  return NULL;
}

// The payload of the first whole frame in b[0..n), its length in *length; NULL while it is not whole.
static const uint8_t *unframe(const uint8_t *b, int n, int *length) {
  if (n < 1) return NULL;
  int header = (b[0] & 3) + 1;
  if (n < header) return NULL;
  uint32_t v = 0;
  for (int i = 0; i < header; i++) v |= (uint32_t)b[i] << 8 * i;
  *length = v >> 2;
  return n >= header + *length ? b + header : NULL;
}

static void id_of(int i, char *s) { sprintf(s, "%09d", 100000000 + first_id + i); }

static uint32_t address_of(int i, int net) {
  return htonl((uint32_t)octet << 24 | (uint32_t)(net + (i >> 16)) << 16 | (i & 0xffff));
}

static int index_of(uint32_t address, int net) {
  return (int)(((address >> 16 & 255) - net) << 16 | (address & 0xffff));
}

static buffer register_pk(int i) {
  char id[16];
  uint8_t uuid[16], pk[32];
  id_of(i, id);
  memset(uuid, 0x11, sizeof uuid);
  memset(pk, 0x22, sizeof pk);
  memcpy(uuid, &i, sizeof i);
  memcpy(pk, &i, sizeof i);
  buffer m;
  m.n = 0;
  put_text(&m, 1, id);
  put_bytes(&m, 2, uuid, sizeof uuid);
  put_bytes(&m, 3, pk, sizeof pk);
  return wrap(15, &m);
}

static buffer register_peer(int i) {
  char id[16];
  id_of(i, id);
  buffer m;
  m.n = 0;
  put_text(&m, 1, id);
  put_number(&m, 2, 3);  // the serial, which every client sends
  return wrap(6, &m);
}

// ---- UDP, one source address for each peer, in batches ----

enum { BATCH = 64 };

typedef struct {
  struct mmsghdr m[BATCH];
  struct iovec v[BATCH];
  char control[BATCH][64];
  buffer b[BATCH];
  int n;
} batch;

static int udp_socket(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1, size = 8 << 20;
  setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  struct sockaddr_in a = {.sin_family = AF_INET};
  if (bind(fd, (void *)&a, sizeof a)) die("bind");
  return fd;
}

static void put(batch *q, uint32_t source, const buffer *m) {
  int k = q->n++;
  memcpy(q->b[k].b, m->b, m->n);
  q->v[k] = (struct iovec){q->b[k].b, m->n};
  q->m[k].msg_hdr = (struct msghdr){
      .msg_name = &server,
      .msg_namelen = sizeof server,
      .msg_iov = &q->v[k],
      .msg_iovlen = 1,
      .msg_control = q->control[k],
      .msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo)),
  };
  struct cmsghdr *c = CMSG_FIRSTHDR(&q->m[k].msg_hdr);
  c->cmsg_level = IPPROTO_IP;
  c->cmsg_type = IP_PKTINFO;
  c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
  struct in_pktinfo info = {.ipi_spec_dst.s_addr = source};
  memcpy(CMSG_DATA(c), &info, sizeof info);
}

static int flush(batch *q, int fd) {
  int done = 0;
  while (done < q->n) {
    int sent = sendmmsg(fd, q->m + done, q->n - done, 0);
    if (sent <= 0) break;
    done += sent;
  }
  q->n = 0;
  return done;
}

static int pull(batch *q, int fd) {
  for (int k = 0; k < BATCH; k++) {
    q->v[k] = (struct iovec){q->b[k].b, 2048};
    q->m[k].msg_hdr = (struct msghdr){
        .msg_iov = &q->v[k], .msg_iovlen = 1, .msg_control = q->control[k], .msg_controllen = 64};
  }
  int n = recvmmsg(fd, q->m, BATCH, MSG_DONTWAIT, NULL);
  return n < 0 ? 0 : n;
}

// The address that datagram k was sent to.
static uint32_t target_of(batch *q, int k) {
  struct msghdr *h = &q->m[k].msg_hdr;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
    if (c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      return ntohl(info.ipi_addr.s_addr);
    }
  return 0;
}

static void wait_readable(int fd, int milliseconds) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  poll(&p, 1, milliseconds);
}

// ---- each peer once ----

typedef struct {
  double took, worst;
  int lost, asked_pk, resent;
} passed;

enum { PASS_TIME = 900 };
static const double RETRY = 2;

// Sends `request` for each peer from its address in `net`, and again what stays unanswered.
// The answer is field `expected`; a first field in it other than 0 is a refusal, or a request_pk.
static passed pass(buffer (*request)(int), int expected, int net) {
  int fd = udp_socket(), next = 0, out = 0, answered = 0, again = 0;
  char *done = zeroed(peers, 1);
  double *born = zeroed(peers, sizeof *born), *sent = zeroed(peers, sizeof *sent), start = now();
  batch *q = zeroed(1, sizeof *q), *r = zeroed(1, sizeof *r);
  passed p = {0};
  while (answered < peers && now() - start < PASS_TIME) {
    while (out < window && next < peers && q->n < BATCH) {
      buffer m = request(next);
      put(q, address_of(next, net), &m);
      born[next] = sent[next] = now();
      next++;
      out++;
    }
    if (q->n) flush(q, fd);
    int n = pull(r, fd), got = 0;
    for (int k = 0; k < n; k++) {
      int i = index_of(target_of(r, k), net), length;
      if (i < 0 || i >= peers || done[i]) continue;
      const uint8_t *b = r->b[k].b, *m = find(b, b + r->m[k].msg_len, expected, &length);
      if (!m) continue;
      done[i] = 1;
      answered++;
      out--;
      got++;
      double took = now() - born[i];
      if (took > p.worst) p.worst = took;
      if (length > 1 && m[1]) {
        if (expected == 7) p.asked_pk++;
        else p.lost++;
      }
    }
    if (got) continue;
    double t = now();
    for (int step = 0; step < 256 && next; step++) {
      again = (again + 1) % next;
      if (done[again] || t - sent[again] < RETRY || q->n >= BATCH) continue;
      buffer m = request(again);
      put(q, address_of(again, net), &m);
      sent[again] = t;
      p.resent++;
    }
    if (q->n) flush(q, fd);
    else usleep(200);
  }
  p.took = now() - start;
  p.lost += peers - answered;
  close(fd);
  free(done);
  free(born);
  free(sent);
  free(q);
  free(r);
  return p;
}

static int load_pass(const char *name, buffer (*request)(int), int expected) {
  if (!window) window = 512;
  double cpu = of_server(cpu_of);
  passed p = pass(request, expected, NET_PEERS);
  cpu = of_server(cpu_of) - cpu;
  printf("{\"load\":\"%s\",\"peers\":%d,\"seconds\":%.3f,\"per_s\":%.0f,\"cpu_s\":%.3f,\"per_cpu_s\":%.0f,"
         "\"lost\":%d,\"asked_pk\":%d,\"resent\":%d,\"worst_s\":%.3f,\"rss_mib\":%.1f}\n",
         name, peers, p.took, peers / p.took, cpu, each(peers, cpu), p.lost, p.asked_pk, p.resent, p.worst,
         of_server(resident_of));
  return p.lost || p.asked_pk;
}

// ---- heartbeats ----

static int load_reg(void) {
  if (!window) window = 512;
  int fd = udp_socket(), current = 0, out = 0;
  batch *q = zeroed(1, sizeof *q), *r = zeroed(1, sizeof *r);
  unsigned long got = 0, lost = 0, asked_pk = 0, base = 0;
  double start = now(), t, begun = 0, last = start, cpu = 0;
  while ((t = now()) < start + warm_up() + seconds) {
    if (!begun && t > start + warm_up()) {
      begun = t;
      base = got;
      cpu = of_server(cpu_of);
    }
    while (window - out >= BATCH) {
      while (q->n < BATCH) {
        buffer m = register_peer(current);
        put(q, address_of(current, NET_PEERS), &m);
        current = (current + 1) % peers;
      }
      int sent = flush(q, fd);
      out += sent;
      last = t;
      if (sent < BATCH) break;
    }
    int n = pull(r, fd);
    got += n;
    out = out > n ? out - n : 0;
    if (n) {
      last = now();
    } else if (out && t - last > 2) {
      lost += out;
      out = 0;
    }
    for (int k = 0; k < n; k++) {
      uint8_t *b = r->b[k].b;
      if (r->m[k].msg_len >= 4 && b[0] == 0x3a && b[1] >= 2 && b[2] == 0x10 && b[3]) asked_pk++;
    }
  }
  double took = now() - begun, count = got - base;
  cpu = of_server(cpu_of) - cpu;
  printf("{\"load\":\"reg\",\"peers\":%d,\"per_s\":%.0f,\"cpu_s\":%.3f,\"per_cpu_s\":%.0f,\"answers\":%lu,"
         "\"lost\":%lu,\"asked_pk\":%lu,\"rss_mib\":%.1f}\n",
         peers, count / took, cpu, each(count, cpu), got, lost, asked_pk, of_server(resident_of));
  return lost || asked_pk;
}

// ---- latencies ----

typedef struct {
  float *of;
  int n, room;
} latencies;

static void note(latencies *l, double took) {
  if (l->n == l->room) {
    l->room = l->room ? 2 * l->room : 4096;
    l->of = realloc(l->of, l->room * sizeof *l->of);
    if (!l->of) die("memory");
  }
  l->of[l->n++] = took * 1e3;
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

static double quantile(latencies *l, double part) {
  if (!l->n) return 0;
  int at = l->n * part;
  return l->of[at < l->n ? at : l->n - 1];
}

static void print_latencies(latencies *l) {
  qsort(l->of, l->n, sizeof *l->of, compare);
  printf("\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f", quantile(l, .5), quantile(l, .99), quantile(l, 1));
}

static volatile sig_atomic_t stopped;
static void stop(int number) {
  (void)number;
  stopped = 1;
}

static int load_beat(void) {
  signal(SIGTERM, stop);
  if (!window) window = 64;
  passed registered = pass(register_pk, 16, NET_BEAT);
  int fd = udp_socket(), current = 0;
  unsigned long sent = 0, lost = registered.lost, asked_pk = 0;
  batch *q = zeroed(1, sizeof *q), *r = zeroed(1, sizeof *r);
  double *born = zeroed(peers, sizeof *born);
  latencies l = {0};
  printf("ready\n");
  fflush(stdout);
  double start = now(), next = start, end = 0;
  for (;;) {
    double t = now();
    if (!end && (stopped || t - start > seconds)) end = t;
    int waiting = 0;
    if (end) {
      for (int i = 0; i < peers; i++) waiting += born[i] > 0;
      if (!waiting || t - end > 5) {
        lost += waiting;
        break;
      }
    }
    for (; !end && next <= t; next += 1.0 / rate) {
      if (born[current] > 0) lost++;  // a whole turn of the peers without an answer
      buffer m = register_peer(current);
      put(q, address_of(current, NET_BEAT), &m);
      born[current] = next;  // when it should have been sent: waiting to send counts
      current = (current + 1) % peers;
      sent++;
      if (q->n == BATCH) break;
    }
    if (q->n) flush(q, fd);
    double wait = end ? 0.01 : next - now();
    if (wait > 0) wait_readable(fd, wait * 1e3 + 1);
    int n = pull(r, fd);
    t = now();
    for (int k = 0; k < n; k++) {
      int i = index_of(target_of(r, k), NET_BEAT), length;
      if (i < 0 || i >= peers || !(born[i] > 0)) continue;
      const uint8_t *b = r->b[k].b, *m = find(b, b + r->m[k].msg_len, 7, &length);
      if (!m) continue;
      if (length > 1 && m[1]) asked_pk++;
      note(&l, t - born[i]);
      born[i] = 0;
    }
  }
  printf("{\"load\":\"beat\",\"peers\":%d,\"sent\":%lu,\"lost\":%lu,\"asked_pk\":%lu,", peers, sent, lost, asked_pk);
  print_latencies(&l);
  printf("}\n");
  return lost || asked_pk;
}

// ---- short conversations over TCP ----

enum { ASKING, ANSWERING, DATAGRAMS };

typedef struct {
  int fd, kind, n, sent;
  double born;
  buffer out;
  uint8_t in[4096];
} flow;

static int ep;
static unsigned sequence;

static int dial(int net, int to) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = address_of(sequence++ & 0x3fff, net)};
  struct sockaddr_in s = server;
  s.sin_port = htons(to);
  if (bind(fd, (void *)&a, sizeof a) || (connect(fd, (void *)&s, sizeof s) && errno != EINPROGRESS)) {
    close(fd);
    return -1;
  }
  return fd;
}

static void arm(flow *f, int events, int op) {
  struct epoll_event e = {.events = events, .data.ptr = f};
  epoll_ctl(ep, op, f->fd, &e);
}

static void close_flow(flow *f) {
  close(f->fd);
  f->fd = -1;
  if (f->kind == ANSWERING) free(f);
}

static buffer punch_request(int i) {
  char id[16];
  id_of(i, id);
  buffer m;
  m.n = 0;
  put_text(&m, 1, id);
  put_number(&m, 2, 1);
  put_text(&m, 3, key);
  buffer w = wrap(8, &m);
  return frame(&w);
}

static buffer punch_sent(int i, const uint8_t *asker, int length) {
  char id[16];
  id_of(i, id);
  buffer m;
  m.n = 0;
  put_bytes(&m, 1, asker, length);
  put_text(&m, 2, id);
  put_number(&m, 4, 1);
  put_text(&m, 5, "1.4.9");
  buffer w = wrap(10, &m);
  return frame(&w);
}

static buffer online_request(void) {
  buffer m;
  m.n = 0;
  put_text(&m, 1, "100000000");
  for (int i = 0; i < peers && m.n < 3900; i++) {
    char id[16];
    id_of(i, id);
    put_text(&m, 2, id);
  }
  buffer w = wrap(23, &m);
  return frame(&w);
}

static buffer nat_request(void) {
  buffer m;
  m.n = 0;
  buffer w = wrap(20, &m);
  return frame(&w);
}

static void heartbeat_all(int fd, batch *q) {
  for (int i = 0; i < peers; i++) {
    buffer m = register_peer(i);
    put(q, address_of(i, NET_PUNCHED), &m);
    if (q->n == BATCH) {
      flush(q, fd);
      usleep(2000);
    }
  }
  flush(q, fd);
}

// Every PunchHole that has come is answered with PunchHoleSent on a connection of its own.
static int follow_pushes(int fd, batch *r) {
  int wrong = 0, n;
  while ((n = pull(r, fd)) > 0)
    for (int k = 0; k < n; k++) {
      const uint8_t *b = r->b[k].b;
      int length, asker_length;
      const uint8_t *m = find(b, b + r->m[k].msg_len, 9, &length);
      if (!m) continue;
      const uint8_t *asker = find(m, m + length, 1, &asker_length);
      int out = asker ? dial(NET_ANSWERING, port) : -1;
      if (out < 0) {
        wrong++;
        continue;
      }
      flow *f = zeroed(1, sizeof *f);
      f->kind = ANSWERING;
      f->fd = out;
      f->out = punch_sent(index_of(target_of(r, k), NET_PUNCHED), asker, asker_length);
      arm(f, EPOLLOUT, EPOLL_CTL_ADD);
    }
  return wrong;
}

// Takes what has come; 1 when the answer is there, -1 when the conversation failed, 0 to go on.
static int read_answer(flow *f, int expected, int needs_address) {
  int n = read(f->fd, f->in + f->n, sizeof f->in - f->n);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n <= 0) return -1;
  f->n += n;
  int length, found;
  for (const uint8_t *p; (p = unframe(f->in, f->n, &length));) {
    const uint8_t *m = find(p, p + length, expected, &found);
    if (m) return !needs_address || find(m, m + found, 1, &length) ? 1 : -1;
    int used = (p - f->in) + length;
    memmove(f->in, f->in + used, f->n - used);
    f->n -= used;
  }
  return 0;
}

static int load_short(const char *name) {
  int punch = !strcmp(name, "punch"), online = !strcmp(name, "online");
  int expected = punch ? 11 : online ? 24 : 21, udp = -1;
  unsigned long ok = 0, lost = 0, base = 0;
  batch *q = zeroed(1, sizeof *q), *r = zeroed(1, sizeof *r);
  buffer request = online ? online_request() : nat_request();
  latencies l = {0};
  flow pushes = {.kind = DATAGRAMS};
  ep = epoll_create1(0);
  if (punch) {
    int flows = window;
    window = 256;
    lost += pass(register_pk, 16, NET_PUNCHED).lost;
    window = flows;
    pushes.fd = udp = udp_socket();
    heartbeat_all(udp, q);  // from now on the peers are where this socket is
    usleep(200000);
    while (pull(r, udp)) {
    }
    arm(&pushes, EPOLLIN, EPOLL_CTL_ADD);
  }
  if (!window) window = 32;
  flow *a = zeroed(window, sizeof *a);
  for (int i = 0; i < window; i++) a[i].fd = -1;
  double start = now(), t, begun = 0, cpu = 0, beat = start, looked = start;
  while ((t = now()) < start + warm_up() + seconds) {
    if (!begun && t > start + warm_up()) {
      begun = t;
      base = ok;
      l.n = 0;
      cpu = of_server(cpu_of);
    }
    if (punch && t - beat > 10) {
      beat = t;
      heartbeat_all(udp, q);
    }
    for (int i = 0; i < window; i++) {
      flow *f = &a[i];
      if (f->fd >= 0) continue;
      f->fd = dial(punch ? NET_ASKING : NET_SHORT, punch ? port : port - 1);
      if (f->fd < 0) {
        lost++;
        continue;
      }
      f->n = f->sent = 0;
      f->born = t;
      f->out = punch ? punch_request(sequence % peers) : request;
      arm(f, EPOLLOUT | EPOLLIN, EPOLL_CTL_ADD);
    }
    struct epoll_event e[256];
    int n = epoll_wait(ep, e, 256, 5);
    for (int i = 0; i < n; i++) {
      flow *f = e[i].data.ptr;
      if (f->kind == DATAGRAMS) {
        lost += follow_pushes(udp, r);
        continue;
      }
      if (e[i].events & EPOLLOUT && f->sent < f->out.n) {
        int sent = write(f->fd, f->out.b + f->sent, f->out.n - f->sent);
        if (sent < 0 && errno != EAGAIN) {
          lost++;
          close_flow(f);
          continue;
        }
        if (sent > 0) f->sent += sent;
        if (f->sent == f->out.n) {
          if (f->kind == ANSWERING) {
            shutdown(f->fd, SHUT_WR);
            close_flow(f);
            continue;
          }
          arm(f, EPOLLIN, EPOLL_CTL_MOD);
        }
      }
      if (f->kind == ASKING && e[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        int answer = read_answer(f, expected, punch);
        if (!answer) continue;
        if (answer > 0) {
          ok++;
          note(&l, now() - f->born);
        } else {
          lost++;
        }
        close_flow(f);
      }
    }
    if (t - looked < 0.5) continue;
    looked = t;
    for (int i = 0; i < window; i++)
      if (a[i].fd >= 0 && t - a[i].born > 10) {
        lost++;
        close_flow(&a[i]);
      }
  }
  double took = now() - begun, count = ok - base;
  cpu = of_server(cpu_of) - cpu;
  printf("{\"load\":\"%s\",\"per_s\":%.0f,\"cpu_s\":%.3f,\"per_cpu_s\":%.0f,\"lost\":%lu,", name, count / took, cpu,
         each(count, cpu), lost);
  print_latencies(&l);
  printf(",\"rss_mib\":%.1f}\n", of_server(resident_of));
  return lost != 0;
}

// ---- the relay ----

typedef struct {
  int fd, sends;
  int64_t left;
} relay_end;

static void set_blocking(int fd, int blocking) {
  int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

// Two connections, each of which has asked the relay for the other.
static void dial_pair(int number, int fds[2]) {
  char uuid[48];
  snprintf(uuid, sizeof uuid, "%d-%d-%.0f", getpid(), number, now() * 1e6);
  buffer m;
  m.n = 0;
  put_text(&m, 2, uuid);
  put_text(&m, 6, key);
  buffer w = wrap(18, &m), request = frame(&w);
  for (int i = 0; i < 2; i++) {
    fds[i] = dial(NET_SHORT, port);
    if (fds[i] < 0) die("connect");
    struct pollfd p = {.fd = fds[i], .events = POLLOUT};
    poll(&p, 1, 5000);
    set_blocking(fds[i], 1);
    if (send(fds[i], request.b, request.n, MSG_NOSIGNAL) != request.n) die("request");
  }
}

static int load_relay(void) {
  int64_t total = 0, of_each = megabytes * 1e6;
  int left = peers, cut = 0, receive = 1 << 20;
  relay_end *ends = zeroed(2 * peers, sizeof *ends);
  char *data = zeroed(chunk, 1), *sink = zeroed(receive, 1);
  memset(data, 0x5a, chunk);
  ep = epoll_create1(0);
  for (int i = 0; i < peers; i++) {
    int fds[2];
    dial_pair(i, fds);
    for (int k = 0; k < 2; k++) ends[2 * i + k] = (relay_end){fds[k], !k, of_each};
  }
  usleep(300000);
  double start = now(), cpu = of_server(cpu_of);
  for (int i = 0; i < 2 * peers; i++) {
    set_blocking(ends[i].fd, 0);
    struct epoll_event e = {.events = ends[i].sends ? EPOLLOUT : EPOLLIN, .data.ptr = &ends[i]};
    epoll_ctl(ep, EPOLL_CTL_ADD, ends[i].fd, &e);
  }
  while (left && now() - start < 120) {
    struct epoll_event e[64];
    int n = epoll_wait(ep, e, 64, 1000);
    for (int i = 0; i < n; i++) {
      relay_end *x = e[i].data.ptr;
      int moved, over;
      if (x->sends) {
        moved = send(x->fd, data, x->left < chunk ? x->left : chunk, MSG_NOSIGNAL);
      } else {
        moved = read(x->fd, sink, receive);
        if (moved > 0) total += moved;
      }
      over = moved < 0 ? errno != EAGAIN : moved == 0;
      if (moved > 0) x->left -= moved;
      if (!over && x->left > 0) continue;
      epoll_ctl(ep, EPOLL_CTL_DEL, x->fd, NULL);
      if (x->sends) continue;
      left--;
      if (x->left) cut++;
    }
  }
  double took = now() - start;
  cpu = of_server(cpu_of) - cpu;
  printf("{\"load\":\"relay\",\"pairs\":%d,\"gb\":%.3f,\"seconds\":%.3f,\"mb_per_s\":%.0f,\"cpu_s\":%.3f,"
         "\"gb_per_cpu_s\":%.3f,\"lost\":%d,\"rss_mib\":%.1f}\n",
         peers, total / 1e9, took, total / 1e6 / took, cpu, each(total / 1e9, cpu), cut + left,
         of_server(resident_of));
  return cut + left != 0;
}

static int load_ping(void) {
  enum { SIZE = 100 };
  char data[SIZE], back[SIZE];
  int fds[2], side = 0, lost = 0;
  latencies l = {0};
  dial_pair(0, fds);
  usleep(300000);
  struct timeval patience = {.tv_sec = 5};
  for (int i = 0; i < 2; i++) setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  double start = now();
  for (int i = 0; now() - start < seconds && !lost; i++, side = !side) {
    memset(data, i, SIZE);
    double t = now();
    lost += send(fds[side], data, SIZE, MSG_NOSIGNAL) != SIZE;
    lost += recv(fds[!side], back, SIZE, MSG_WAITALL) != SIZE || memcmp(data, back, SIZE);
    note(&l, now() - t);
    usleep(1000);
  }
  printf("{\"load\":\"ping\",\"sent\":%d,\"lost\":%d,", l.n, lost);
  print_latencies(&l);
  printf("}\n");
  return lost != 0;
}

static int usage(void) {
  fprintf(stderr, "usage: load regpk|back|reg|beat|punch|nat|online|relay|ping [OPTIONS], see the top of load.c\n");
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 2) return usage();
  const char *name = argv[1];
  optind = 2;
  for (int o; (o = getopt(argc, argv, "h:P:p:s:n:f:w:t:r:b:c:k:")) > 0;) switch (o) {
      case 'h': host = optarg; break;
      case 'P': port = atoi(optarg); break;
      case 'p': pid = atoi(optarg); break;
      case 's': octet = atoi(optarg); break;
      case 'n': peers = atoi(optarg); break;
      case 'f': first_id = atoi(optarg); break;
      case 'w': window = atoi(optarg); break;
      case 't': seconds = atof(optarg); break;
      case 'r': rate = atoi(optarg); break;
      case 'b': megabytes = atof(optarg); break;
      case 'c': chunk = atoi(optarg); break;
      case 'k': key = optarg; break;
      default: return usage();
    }
  if (peers < 1 || peers > 1 << 20 || rate < 1 || chunk < 1) return usage();
  server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
  if (!inet_aton(host, &server.sin_addr)) return usage();
  if (!strcmp(name, "regpk")) return load_pass(name, register_pk, 16);
  if (!strcmp(name, "back")) return load_pass(name, register_peer, 7);
  if (!strcmp(name, "reg")) return load_reg();
  if (!strcmp(name, "beat")) return load_beat();
  if (!strcmp(name, "relay")) return load_relay();
  if (!strcmp(name, "ping")) return load_ping();
  if (!strcmp(name, "punch") || !strcmp(name, "nat") || !strcmp(name, "online")) return load_short(name);
  return usage();
}
