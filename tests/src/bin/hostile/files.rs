//! Files: those of root, those of everybody, and games in the cache, which is the working directory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::attempts::{Attempt, Targets};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt { name: "may read what names need", run: |_| fs::read("/etc/hosts").map(drop) },
    Attempt { name: "may use its cache", run: use_cache },
    Attempt { name: "read root's file", run: |targets| fs::read(&targets.secret).map(drop) },
    Attempt { name: "read /etc/shadow", run: |_| fs::read("/etc/shadow").map(drop) },
    Attempt { name: "read everybody's file", run: |targets| fs::read(&targets.public).map(drop) },
    Attempt { name: "read /etc/passwd", run: |_| fs::read("/etc/passwd").map(drop) },
    Attempt { name: "list /proc", run: |_| fs::read_dir("/proc").map(drop) },
    Attempt { name: "list the directory above the cache", run: |_| fs::read_dir("..").map(drop) },
    Attempt { name: "write everybody's file", run: |targets| append(&targets.public) },
    Attempt { name: "make a file beside it", run: |targets| make(&targets.everybodys.join("new")) },
    Attempt { name: "make a file in /dev/shm", run: |_| make(Path::new("/dev/shm/hostile")) },
    Attempt { name: "make a file above the cache", run: |_| make(Path::new("../new")) },
    Attempt {
        name: "remove everybody's file",
        run: |targets| {
            fs::rename(&targets.public, targets.public.with_extension("x"))
                .and_then(|()| fs::rename(targets.public.with_extension("x"), &targets.public))
        },
    },
    Attempt { name: "an inherited descriptor", run: inherited },
    Attempt { name: "a symbolic link in the cache", run: |targets| gone("link", symlink(&targets.secret, "link")) },
    Attempt { name: "a hard link in the cache", run: |targets| gone("hard", fs::hard_link(&targets.public, "hard")) },
    Attempt { name: "a pipe in the cache", run: |_| gone("fifo", mkfifo("fifo", Mode::S_IRWXU).map_err(Into::into)) },
    Attempt {
        name: "a socket in the cache",
        run: |_| gone("sock", std::os::unix::net::UnixListener::bind("sock").map(drop)),
    },
    Attempt {
        name: "another mode for the cache",
        run: |_| fs::set_permissions(".", fs::Permissions::from_mode(0o700)),
    },
    Attempt { name: "a file larger than the cache keeps", run: large },
    Attempt { name: "out through a handle of /proc", run: |_| fs::read("/proc/self/root/etc/passwd").map(drop) },
];

fn use_cache(_: &Targets) -> io::Result<()> {
    fs::create_dir("dir")?;
    fs::write("dir/.tmp", "bytes")?;
    fs::rename("dir/.tmp", "dir/file")?;
    fs::read("dir/file")?;
    fs::remove_file("dir/file")?;
    fs::remove_dir("dir")
}

fn append(file: &Path) -> io::Result<()> {
    File::options().append(true).open(file)?.write_all(b"x")
}

/// Makes a file, and leaves none.
fn make(file: &Path) -> io::Result<()> {
    openat(AT_FDCWD, file, OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_EXCL, Mode::S_IRWXU)?;
    fs::remove_file(file)
}

/// What was made is gone before the next attempt.
fn gone(name: &str, made: io::Result<()>) -> io::Result<()> {
    made?;
    fs::remove_file(name)
}

fn inherited(_: &Targets) -> io::Result<()> {
    // SAFETY: where it is open, the scenario opened it for this process, which uses it once.
    let mut file = unsafe { File::from_raw_fd(9) };
    let read = io::Read::read(&mut file, &mut [0]).map(drop);
    std::mem::forget(file);
    read
}

fn large(_: &Targets) -> io::Result<()> {
    let written = fs::write("large", vec![0; 9 << 20]);
    fs::remove_file("large")?;
    written
}
