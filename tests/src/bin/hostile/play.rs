//! A decider that was taken over, and speaks with the worker: with the same limits, and other words.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use bestfit_decider::confine::{close_inherited, give_up};
use bestfit_selector::decide::decide;
use bestfit_selector::decision::Outcome;
use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::{Answer, Ask, HEADER, Kind, header, parse_header};
use bestfit_selector::index::Index;

/// Plays one part; the worker's own arguments follow it on the command line.
pub(crate) fn play(part: &str) -> ExitCode {
    let number = |name: &str| std::env::args().skip_while(|word| word != name).nth(1).unwrap().parse().unwrap();
    let (uid, gid) = (number("--uid"), number("--gid"));
    close_inherited().unwrap();
    give_up(uid, gid).unwrap();
    let played = match part {
        "garbage" => io::stdout().write_all(&[0xff; 4096]),
        "silence" => {
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
        "flood" => flood(),
        "gone" => Ok(()),
        "stranger" => answer(Digest::of),
        "liar" => answer(|index| Index::parse(index).unwrap().entries[1].digest).and_then(|()| lie()),
        _ => return ExitCode::from(64),
    };
    if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Frame after frame of the greatest length, without an end.
fn flood() -> io::Result<()> {
    let bytes = vec![b' '; 16 << 20];
    loop {
        send(Kind::Bytes, &bytes)?;
    }
}

/// Prefers whatever `choose` makes of the index.
fn answer(choose: fn(&[u8]) -> Digest) -> io::Result<()> {
    let ask: Ask = serde_json::from_slice(&receive()?).unwrap();
    let index = receive()?;
    let preferred = vec![choose(&index)];
    let mut decision = decide(&ask.into_inputs(index)).unwrap();
    (decision.outcome, decision.preferred) = (Outcome::Swap, preferred);
    let (fresh, lasts) = (None, Duration::ZERO);
    let answer = Answer { decision, requests: 0, gather_us: 0, decide_us: 0, fresh, lasts, unenforced: Vec::new() };
    send(Kind::Message, &serde_json::to_vec(&answer).unwrap())
}

/// Gives other bytes than those that are asked for, and says that they are right.
fn lie() -> io::Result<()> {
    loop {
        receive()?;
        send(Kind::Bytes, b"something else")?;
        send(Kind::End, &[])?;
    }
}

fn send(kind: Kind, payload: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&header(kind, payload.len()).unwrap())?;
    out.write_all(payload)?;
    out.flush()
}

fn receive() -> io::Result<Vec<u8>> {
    let mut head = [0; HEADER];
    io::stdin().read_exact(&mut head)?;
    let (_, length) = parse_header(head).unwrap();
    let mut payload = vec![0; length];
    io::stdin().read_exact(&mut payload)?;
    Ok(payload)
}
