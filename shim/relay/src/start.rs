//! Owns `start`: leaves a relay behind, runs the delegate's `start`, and answers with the relay's address.
//! containerd reads stdout and stderr of `start` as one, so on success nothing but the answer is written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::bundle::{self, Record, Role};
use crate::delegate::{self, Delegate, Output};
use crate::flags::Flags;
use crate::leave::Left;
use crate::reply::{Form, Reply};
use crate::worker::{self, Workers};
use crate::{bridge, delete, log, options, orphans, reply, socket, sys, wire};

/// Why there is no answer: the exit code and the text, both the delegate's where it failed.
struct Failure {
    code: u8,
    text: Vec<u8>,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { code: 1, text: format!("containerd-shim-bestfit-v1: {error}").into_bytes() }
    }
}

pub(crate) fn run(flags: &Flags) -> ExitCode {
    match answer(flags) {
        Ok(answer) => match io::stdout().write_all(&answer) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(failure) => {
            let _ = io::stderr().write_all(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// What containerd told us on stdin.
struct Told {
    /// The bytes for the delegate, options converted.
    stdin: Vec<u8>,
    /// They are `BootstrapParams`, so containerd is 2.3 or later.
    bootstrap: bool,
}

fn answer(flags: &Flags) -> Result<Vec<u8>, Failure> {
    let delegate = Delegate::find(flags)?;
    let stdin = delegate::read_stdin()?;
    let bootstrap = reply::is_bootstrap_params(&stdin, &flags.id, &flags.namespace);
    let stdin = match delegate.wants_runc_options {
        true => options::stdin(&stdin, bootstrap).or_unchanged(stdin),
        false => stdin,
    };
    let told = Told { stdin, bootstrap };
    let bundle = std::env::current_dir()?;
    let cgroup = options::shim_cgroup(&told.stdin, told.bootstrap);
    let leave = |ahead| Left::behind(flags, delegate.wants_runc_options, ahead, cgroup.as_deref());
    let left = match bundle::role(&bundle) {
        // Its pod's relay is there already, as a rule.
        Role::Member => None,
        role => Some(leave(role == Role::Alone)),
    };
    // What the delegate leaves behind must be found where the start is refused after all.
    sys::adopt_orphans();
    let output = call(flags, &delegate, &told)?;
    let Some(reply) = Reply::parse(output.stdout.clone()) else {
        let why = "the delegate's answer to start is not understood";
        return unrelayed(flags, &bundle, why, output.stdout).inspect_err(|_| end_all(left, None));
    };
    let Some(path) = reply.socket_path().map(PathBuf::from) else {
        let why = format!("{} by {} cannot be relayed", reply.address, reply.protocol);
        return unrelayed(flags, &bundle, &why, output.stdout).inspect_err(|_| end_all(left, reply.unix_path()));
    };
    let answer = Answer::choose(&reply, &told, flags);
    let relay = socket::relay_path(&path);
    let record = Record { delegate: path, version: reply.version, relay };
    match relayed(|| left.unwrap_or_else(|| leave(false)), &bundle, &record, &answer) {
        Ok(address) => Ok(answer.with(&reply, &address)),
        Err(error) => {
            let unrelayed = unrelayed(flags, &bundle, &error.to_string(), answer.with(&reply, &reply.address));
            unrelayed.inspect_err(|_| {
                delete::end(&record, &flags.id);
                end_all(None, None);
            })
        }
    }
}

/// Without a relay, containerd talks to the delegate, and nothing in the pod is decided about: where the site asks for that,
/// the start fails, also that of a pause container.
fn unrelayed(flags: &Flags, bundle: &Path, why: &str, answer: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let why = format!("there is no relay: {why}");
    match Workers::new(flags).undecided(&bundle.to_string_lossy(), &why) {
        worker::Answer::Deny(why) => Err(Failure { code: 1, text: why.into_bytes() }),
        worker::Answer::Leave | worker::Answer::Mounts(_) => Ok(answer),
    }
}

/// Ends all that this start began: the relay, which ends when it hears that nobody tells it anything, and the delegate, whose
/// socket is removed then.
fn end_all(left: Option<io::Result<Left>>, delegate: Option<&str>) {
    drop(left);
    orphans::end();
    if let Some(path) = delegate {
        socket::remove_dead(Path::new(path), Duration::ZERO);
    }
}

/// Calls the delegate's `start`. One of 2.3 or later wants `BootstrapParams`, which an older containerd does not send.
fn call(flags: &Flags, delegate: &Delegate, told: &Told) -> Result<Output, Failure> {
    let mut output = delegate.call(&flags.args, &told.stdin)?;
    // containerd pkg/shim/compat.go, errDeprecatedBootstrapAPI; there is no other sign of it.
    let wants_params = || output.stderr.windows(14).any(|window| window == b"deprecated API");
    if !output.status.success() && !told.bootstrap && wants_params() {
        output = delegate.call(&flags.args, &bootstrap_params(flags, &told.stdin))?;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        if !text.trim().is_empty() {
            log::warn(&format!("the delegate's start said: {}", text.trim()));
        }
        return Ok(output);
    }
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failure { code, text: [output.stdout, output.stderr].concat() })
}

/// `BootstrapParams` from flags, environment and the older form of options (bootstrap.proto).
fn bootstrap_params(flags: &Flags, any: &[u8]) -> Vec<u8> {
    let ttrpc = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
    let mut out = Vec::new();
    for (number, text) in
        [(1, &flags.id), (2, &flags.namespace), (5, &ttrpc), (6, &flags.address), (7, &flags.publish_binary)]
    {
        wire::put_bytes(&mut out, number, text.as_bytes());
    }
    if flags.debug {
        // LOG_LEVEL_DEBUG is -4.
        wire::put_number(&mut out, 3, -4i64 as u64);
    }
    if !any.is_empty() {
        let mut extension = Vec::new();
        wire::put_bytes(&mut extension, 1, any);
        wire::put_bytes(&mut out, 8, &extension);
    }
    out
}

/// In which form containerd understands the answer.
struct Answer {
    form: Form,
    /// containerd speaks version 2 and the delegate 3.
    bridges: bool,
}

impl Answer {
    fn choose(reply: &Reply, told: &Told, flags: &Flags) -> Self {
        let bridges = reply.version >= 3 && !told.bootstrap && bridge::containerd_is_1(&flags.publish_binary);
        let form = match reply.form {
            _ if bridges => Form::Plain,
            Form::Protobuf if !told.bootstrap => Form::Json,
            form => form,
        };
        Self { form, bridges }
    }

    fn with(&self, reply: &Reply, address: &str) -> Vec<u8> {
        match self.form {
            form if form == reply.form => reply.with_address(address),
            Form::Plain => address.as_bytes().to_vec(),
            Form::Json | Form::Protobuf => reply.as_json(address),
        }
    }
}

/// Makes sure that a relay listens for the delegate, and says where.
fn relayed(
    left: impl FnOnce() -> io::Result<Left>,
    bundle: &Path,
    record: &Record,
    answer: &Answer,
) -> io::Result<String> {
    let address = format!("unix://{}", record.relay.display());
    left()?.listen(record, answer.bridges)?;
    let written =
        record.write(bundle).and_then(|()| bundle::replace_address(bundle, &address, answer.form == Form::Plain));
    if let Err(error) = written {
        log::warn(&format!("the bundle does not say where the relay listens: {error}"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_containerd_gets_the_form_that_it_reads() {
        let json = br#"{"version":3,"address":"unix:///d","protocol":"ttrpc"}"#;
        let mut protobuf = Vec::new();
        wire::put_number(&mut protobuf, 1, 3);
        wire::put_bytes(&mut protobuf, 2, b"unix:///d");
        let mut answered = protobuf.clone();
        answered.truncate(2);
        wire::put_bytes(&mut answered, 2, b"unix:///r");
        let in_json = br#"{"version":3,"address":"unix:///r","protocol":"ttrpc"}"#;
        for (raw, form, expected) in [
            (json.as_slice(), Form::Json, in_json.as_slice()),
            (json, Form::Plain, b"unix:///r"),
            (&protobuf, Form::Protobuf, &answered),
            (&protobuf, Form::Json, in_json),
            (&protobuf, Form::Plain, b"unix:///r"),
            (b"unix:///d", Form::Plain, b"unix:///r"),
        ] {
            let reply = Reply::parse(raw.to_vec()).unwrap();
            assert_eq!(Answer { form, bridges: false }.with(&reply, "unix:///r"), expected);
        }
    }

    #[test]
    fn bootstrap_params_name_the_container() {
        let args = ["x", "-namespace", "ns", "-id", "c1", "-debug", "start"].map(std::ffi::OsString::from);
        let flags = Flags::parse(&args);
        let params = bootstrap_params(&flags, b"\x0a\x01a");
        assert!(reply::is_bootstrap_params(&params, "c1", "ns"));
        assert_eq!(wire::last(&params, 8).unwrap().unwrap().bytes(), Some(b"\x0a\x03\x0a\x01a".as_slice()));
    }
}
