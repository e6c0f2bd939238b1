//! `recorder SHIM FILE ARGS…`: SHIM with ARGS, for the end-to-end tests, except that `start` answers with a socket of its own,
//! behind which it passes everything on and writes down what comes in: connection N in FILE.N. It ends with the shim.
#![allow(missing_docs, reason = "a program, not a library")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match args.as_slice() {
        [word, file, upstream] if word == "serve" => serve(Path::new(file), Path::new(upstream)),
        [shim, file, rest @ ..] if rest.iter().any(|word| word == "start") => start(shim, Path::new(file), rest),
        [shim, _, rest @ ..] => Err(Command::new(shim).args(rest).exec()),
        _ => Err(io::Error::other("recorder SHIM FILE ARGS...")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recorder: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the shim's `start`, and puts a recorder before the address that it answers with.
fn start(shim: &OsString, file: &Path, args: &[OsString]) -> io::Result<()> {
    // A file, not a pipe: what the shim leaves behind may keep it open.
    let answer = file.with_extension("answer");
    let status = Command::new(shim).args(args).stdout(File::create(&answer)?).status()?;
    let answer = std::fs::read(answer)?;
    let text = String::from_utf8_lossy(&answer);
    if !status.success() {
        return Err(io::Error::other(format!("{status}: {text}")));
    }
    let from = text.find("unix://").ok_or_else(|| io::Error::other(format!("no address: {text}")))?;
    // Plain or in JSON the address ends by itself; in protobuf (containerd 2.3) its length stands before it, in one byte.
    let counted = from > 0 && !text.starts_with('{');
    let end = if counted { from + usize::from(answer[from - 1]) } else { text.len() };
    let address = text.get(from..end).unwrap_or_default().split(['"', '\n']).next().unwrap_or_default();
    let socket = file.with_extension("sock");
    let upstream = address.trim_start_matches("unix://");
    let mut recorder = Command::new(std::env::current_exe()?);
    recorder.arg("serve").arg(file).arg(upstream).process_group(0);
    recorder.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    for _ in 0..500 {
        if socket.exists() {
            let ours = format!("unix://{}", socket.display());
            let mut said = answer[..from].to_vec();
            if counted {
                said[from - 1] = u8::try_from(ours.len()).map_err(io::Error::other)?;
            }
            said.extend(ours.as_bytes());
            said.extend(&answer[from + address.len()..]);
            io::stdout().write_all(&said)?;
            return io::stdout().flush();
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other("the recorder does not listen"))
}

fn serve(file: &Path, upstream: &Path) -> io::Result<()> {
    let (socket, fresh) = (file.with_extension("sock"), file.with_extension("fresh"));
    let listener = UnixListener::bind(&fresh)?;
    let mut watch = UnixStream::connect(upstream)?;
    // There only once it listens.
    std::fs::rename(&fresh, &socket)?;
    let (file, behind) = (file.to_owned(), upstream.to_owned());
    thread::spawn(move || {
        for (number, client) in listener.incoming().flatten().enumerate() {
            let (record, behind) = (file.with_extension(number.to_string()), behind.clone());
            thread::spawn(move || record_one(client, &behind, record));
        }
    });
    // The shim says nothing here; it ends.
    while watch.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    std::fs::remove_file(&socket)?;
    // Last answers are still on their way.
    thread::sleep(Duration::from_millis(200));
    // A shim unlinks the socket that its bundle names, which is not its own here.
    let _ = std::fs::remove_file(upstream);
    Ok(())
}

fn record_one(client: UnixStream, upstream: &Path, record: PathBuf) -> io::Result<()> {
    let server = UnixStream::connect(upstream)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut from_client, mut to_server) = (&client, &server);
    let mut record = File::create(record)?;
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = from_client.read(&mut bytes)?;
        if count == 0 {
            return server.shutdown(Shutdown::Both);
        }
        record.write_all(&bytes[..count])?;
        to_server.write_all(&bytes[..count])?;
    }
}
