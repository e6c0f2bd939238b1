// The program of the test images: says what it sees, and does one simple thing.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static void on_term(int signal) {
  (void)signal;
  static const char text[] = "terminated\n";
  if (write(1, text, sizeof text - 1) < 0) _exit(1);
  _exit(143);
}

static void copy(int from, int to) {
  char buffer[4096];
  for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;)
    if (write(to, buffer, (size_t)n) < 0) exit(1);
}

// /build is what tells one build of the image from another.
static void report(int argc, char **argv) {
  char build[64] = "none";
  int file = open("/build", O_RDONLY);
  ssize_t n = file < 0 ? -1 : read(file, build, sizeof build - 1);
  if (n >= 0) build[n] = 0;
  if (file >= 0) close(file);
  char cwd[256] = "?";
  if (!getcwd(cwd, sizeof cwd)) strcpy(cwd, "?");
  printf("build=%s\ncwd=%s\nuid=%d\n", build, cwd, (int)getuid());
  for (int i = 0; i < argc; i++) printf("arg=%s\n", argv[i]);
  for (char **e = environ; *e; e++) printf("env=%s\n", *e);
  fflush(stdout);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "report";
  signal(SIGTERM, on_term);
  if (!strcmp(what, "exit")) return argc > 2 ? atoi(argv[2]) : 0;
  if (!strcmp(what, "cat")) {
    copy(0, 1);
    puts("end of input");
  } else if (!strcmp(what, "tty")) {
    puts(isatty(0) && isatty(1) ? "a terminal" : "no terminal");
    fflush(stdout);
    getchar();
  } else if (!strcmp(what, "write") && argc > 3) {
    int file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, argv[3], strlen(argv[3])) < 0) return 1;
  } else if (!strcmp(what, "read") && argc > 2) {
    int file = open(argv[2], O_RDONLY);
    if (file < 0) return 1;
    copy(file, 1);
  } else {
    report(argc, argv);
    while (!strcmp(what, "hold")) pause();
  }
  // ctr gives up opening its pipes once the container is gone, and loses what one printed that ends at once.
  usleep(50 * 1000);
  return 0;
}
