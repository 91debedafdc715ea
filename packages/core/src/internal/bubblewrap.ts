/**
 * Commands in Linux namespaces of their own, made by Debian's `bubblewrap`: a read-only system, no network, no
 * capabilities, no sight of the host's processes or of other sandboxes.
 *
 * The first process inside is a few lines of Perl (which every Debian has): nothing inside can kill it, it reaps
 * orphans (F20), and it reports how the command ended on a descriptor of its own, because bubblewrap itself turns a
 * death by signal into an exit code (F31). When it ends the kernel kills whatever the command left behind.
 */
import type * as Path from "effect/Path"
import type { Places } from "./confinedFileSystem.ts"

/** Where the first process reports the end of the command. */
export const reportFd = 3

/** Signals that end the command and must not end what supervises it. */
const signals = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"]

/**
 * The command leads a process group of its own, as it would in a terminal; polite signals are passed on to that group.
 *
 * Arguments: the executable's path, then the command with its arguments. Reports `started` or `failed <error number>`,
 * and then `exit <code>` or `signal <number>`. Signals that come before `started` are lost.
 */
const firstProcess = `
my $report;
open($report, ">&=", ${reportFd}) or undef $report;
my $path = shift @ARGV;
pipe(my $executed, my $executing) or exit 125;
my $child = fork;
exit 125 unless defined $child;
if ($child == 0) {
  fcntl($report, 2, 1) if $report;
  close $executed;
  setpgrp(0, 0);
  $SIG{$_} = "DEFAULT" for qw(${signals.join(" ")});
  exec { $path } @ARGV;
  syswrite($report, "failed " . ($! + 0) . "\\n") if $report;
  syswrite($executing, "failed");
  exit 127;
}
for my $name (qw(${signals.join(" ")})) { $SIG{$name} = sub { kill $name, -$child } }
close STDIN; close STDOUT; close STDERR;
close $executing;
my $failed;
do { $failed = sysread($executed, my $said, 6) } until defined $failed || $! != 4;
syswrite($report, "started\\n") if $report && defined $failed && $failed == 0;
while (1) {
  my $pid = waitpid(-1, 0);
  next if $pid < 0 && $! == 4;
  last if $pid < 0;
  next if $pid != $child;
  my $text = $? & 127 ? "signal " . ($? & 127) : "exit " . ($? >> 8);
  syswrite($report, "$text\\n") if $report;
  last;
}
`

/** Parts of the system that programs need. Nothing else of the host can be seen. */
const system = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/etc/alternatives",
  "/etc/group",
  "/etc/ld.so.cache",
  "/etc/ld.so.conf",
  "/etc/ld.so.conf.d",
  "/etc/localtime",
  "/etc/nsswitch.conf",
  "/etc/passwd",
  "/etc/ssl",
  "/nix/store"
]
const forNetwork = ["/etc/hosts", "/etc/resolv.conf", "/run/systemd/resolve"]

/** Files of /proc that change the whole machine. */
const kernelSettings = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"]

export interface Settings {
  readonly bwrap: string
  readonly perl: string
  readonly network: boolean
  readonly readOnlyPaths: ReadonlyArray<string>
  /** Limits the number of processes of one command from inside; for users that are not root. */
  readonly prlimit: { readonly path: string; readonly maxProcesses: number } | undefined
}

const readOnly = (paths: ReadonlyArray<string>) => paths.flatMap((path) => ["--ro-bind-try", path, path])

/** The command line that runs one command inside. */
export const commandLine = (
  settings: Settings,
  places: Places,
  command: { readonly executable: string; readonly cwd: string; readonly homeIsWritable: boolean }
): ReadonlyArray<string> => [
  settings.bwrap,
  "--die-with-parent",
  "--unshare-all",
  ...(settings.network ? ["--share-net"] : []),
  "--unshare-user",
  "--disable-userns",
  "--uid",
  "1000",
  "--gid",
  "1000",
  "--cap-drop",
  "ALL",
  "--as-pid-1",
  "--hostname",
  "sandbox",
  ...readOnly([...system, ...(settings.network ? forNetwork : [])]),
  "--proc",
  "/proc",
  // They belong to the user who runs this, root included.
  ...readOnly(kernelSettings),
  "--dev",
  "/dev",
  "--bind",
  places.temporary,
  "/tmp",
  // They may lie in the host's /tmp.
  ...readOnly(settings.readOnlyPaths),
  "--bind",
  places.workspace,
  places.workspace,
  "--bind",
  places.temporary,
  places.temporary,
  command.homeIsWritable ? "--bind" : "--ro-bind",
  places.home,
  places.home,
  // What is not bound is a file system in memory, which nobody needs to write to.
  "--remount-ro",
  "/",
  "--chdir",
  command.cwd,
  "--",
  ...(settings.prlimit === undefined ? [] : [settings.prlimit.path, `--nproc=${settings.prlimit.maxProcesses}`]),
  settings.perl,
  "-e",
  firstProcess,
  command.executable
]

/** A shell that ignores the polite signals, so that bubblewrap outlives them, and becomes the command. */
export const shielded = `trap "" ${signals.join(" ")}; exec "$@"`

/** Whether a path can be seen inside. */
export const isVisible = (settings: Settings, path: Path.Path, target: string): boolean =>
  [...system, ...settings.readOnlyPaths].some((root) => target === root || target.startsWith(root + path.sep))

/** What the first process says, as far as it has said it. */
export interface Report {
  /** Whether the command was executed, or the system's error number. */
  readonly start: "started" | number | undefined
  readonly end: { readonly code: number } | { readonly signal: string } | undefined
}

export const parseReport = (report: string): Report => {
  const found = (pattern: RegExp) => pattern.exec(report)?.[1]
  const failed = found(/^failed (\d+)$/m)
  const code = found(/^exit (\d+)$/m)
  const signal = found(/^signal (\d+)$/m)
  return {
    start: report.startsWith("started\n") ? "started" : failed === undefined ? undefined : Number(failed),
    end:
      code !== undefined
        ? { code: Number(code) }
        : signal !== undefined
          ? { signal: signalNames[Number(signal)] ?? `signal ${signal}` }
          : undefined
  }
}

/** Linux's numbers, which are the same on all its common architectures. */
const signalNames: { readonly [number: number]: string } = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  5: "SIGTRAP",
  6: "SIGABRT",
  7: "SIGBUS",
  8: "SIGFPE",
  9: "SIGKILL",
  10: "SIGUSR1",
  11: "SIGSEGV",
  12: "SIGUSR2",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM",
  16: "SIGSTKFLT",
  24: "SIGXCPU",
  25: "SIGXFSZ",
  26: "SIGVTALRM",
  27: "SIGPROF",
  29: "SIGIO",
  30: "SIGPWR",
  31: "SIGSYS"
}
