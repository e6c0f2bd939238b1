//! A relay between a client and a delegate that both are the test, with a worker that does what files say.

use super::*;
use crate::bundle::Record;
use crate::flags::Flags;
use crate::request::task_request;
use crate::site::Site;
use crate::testing::Folder;
use crate::wire;
use crate::worker::Workers;
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A relay between a client and a delegate that both are this test.
struct Bench {
    folder: Folder,
    relay: Arc<Relay>,
    client: UnixStream,
    delegate: UnixStream,
}

impl Bench {
    fn new(flags: &[&str], worker: bool) -> Self {
        Self::with(flags, worker, false)
    }

    fn with(flags: &[&str], worker: bool, bridge: bool) -> Self {
        let folder = Folder::new();
        let socket = folder.path().join("delegate.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let args = ["relay", "-namespace", "ns"];
        let args: Vec<_> = args.iter().chain(flags).map(OsString::from).collect();
        let parsed = Flags::parse(&args);
        let mut workers = Workers::new(&parsed);
        let script = folder.path().join("worker");
        std::os::unix::fs::symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fake-worker"), &script).unwrap();
        workers.places = if worker { vec![script] } else { Vec::new() };
        workers.site = Site::at(folder.path().join("config.toml"), "");
        if parsed.ahead {
            workers.start_ahead("c1", folder.path());
        }
        let record = Record { delegate: socket.clone(), version: 2, relay: "/none".into() };
        let relay = Arc::new(Relay::new(&parsed, record, bridge, workers));
        let (client, ours) = UnixStream::pair().unwrap();
        open(&relay, ours).unwrap();
        let (delegate, _) = listener.accept().unwrap();
        Self { folder, relay, client, delegate }
    }

    fn create(&self) -> Vec<u8> {
        let mut create = Vec::new();
        wire::put_bytes(&mut create, 1, b"c1");
        wire::put_bytes(&mut create, 2, self.folder.path().to_str().unwrap().as_bytes());
        wire::put_bytes(&mut create, 3, b"\x0a\x03old");
        wire::put_bytes(&mut create, 88, b"unknown");
        create
    }

    /// Sends Create on stream 1 and waits until the worker has it.
    fn hold(&self, timeout: u64) {
        self.request(1, "Create", &self.create(), timeout);
        wait_for(&self.folder.path().join("asked"));
        assert_eq!(std::fs::read(self.folder.path().join("request.create")).unwrap(), self.create());
    }

    fn request(&self, stream: u32, method: &str, payload: &[u8], timeout: u64) {
        send(&self.client, stream, frame::REQUEST, &task_request(2, method, payload, timeout));
    }

    /// The stream id and the task request that the delegate gets next.
    fn received(&self) -> (u32, Vec<u8>) {
        let frame = next(&self.delegate).unwrap();
        (frame.stream(), frame.payload().to_vec())
    }

    /// What the relay says to the worker in the end.
    fn said(&self) -> Vec<u8> {
        let path = self.folder.path().join("said");
        wait_for(&path);
        std::fs::read(path).unwrap()
    }
}

fn send(mut to: &UnixStream, stream: u32, kind: u8, payload: &[u8]) {
    to.write_all(Frame::new(stream, kind, payload).as_stream(stream)).unwrap();
}

fn next(from: &UnixStream) -> Option<Frame> {
    let mut frame = Frame::default();
    frame.read(from).unwrap().then_some(frame)
}

fn wait_for(path: &Path) {
    while !path.exists() {
        thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn frames_go_through_under_rising_ids_and_answers_find_their_way_back() {
    let bench = Bench::new(&[], false);
    let create = task_request(2, "Create", &bench.create(), 1000);
    send(&bench.client, 9, frame::REQUEST, b"\xff no protobuf");
    send(&bench.client, 5, frame::REQUEST, &create);
    send(&bench.client, 7, frame::REQUEST, b"");
    send(&bench.client, 7, frame::DATA, b"data");
    send(&bench.client, 99, frame::DATA, b"of no stream");
    assert_eq!(bench.received(), (1, b"\xff no protobuf".to_vec()));
    assert_eq!(bench.received(), (3, create));
    assert_eq!(bench.received(), (5, Vec::new()));
    let data = next(&bench.delegate).unwrap();
    assert_eq!((data.stream(), data.kind(), data.payload()), (5, frame::DATA, b"data".as_slice()));
    for (stream, kind, back) in
        [(5, frame::DATA, 7), (3, frame::RESPONSE, 5), (5, frame::RESPONSE, 7), (1, frame::RESPONSE, 9)]
    {
        send(&bench.delegate, stream, kind, b"x");
        // A stream that has ended, and one that never was.
        send(&bench.delegate, 77, kind, b"x");
        let frame = next(&bench.client).unwrap();
        assert_eq!((frame.stream(), frame.kind()), (back, kind));
    }
}

/// As the stock shim's server and containerd's client do: the call fails, and the connection goes on.
#[test]
fn a_message_that_is_too_long_ends_its_own_call() {
    let bench = Bench::new(&[], false);
    let header = |stream: u8, kind| [0, 0x40, 0, 1, 0, 0, 0, stream, kind, 0];
    let long = vec![0; frame::MAX_PAYLOAD + 1];
    (&bench.client).write_all(&[&header(1, frame::REQUEST)[..], &long].concat()).unwrap();
    let refused = next(&bench.client).unwrap();
    assert_eq!((refused.stream(), frame::status_code(refused.payload())), (1, 8));
    bench.request(3, "State", b"", 0);
    assert_eq!(bench.received(), (1, task_request(2, "State", b"", 0)));
    (&bench.delegate).write_all(&[&header(1, frame::RESPONSE)[..], &long].concat()).unwrap();
    let refused = next(&bench.client).unwrap();
    assert_eq!((refused.stream(), frame::status_code(refused.payload())), (3, 8));
    bench.request(5, "State", b"", 0);
    assert_eq!(bench.received().0, 3);
}

#[test]
fn a_stream_that_ends_well_is_forgotten() {
    let bench = Bench::new(&[], false);
    for (client, upstream) in [(1, 1), (3, 3)] {
        bench.request(client, "Streams", b"", 0);
        assert_eq!(bench.received().0, upstream);
    }
    for (stream, flags, ends) in [(1, 4, false), (1, 5, true), (3, 0, false)] {
        let bytes = [0, 0, 0, 0, 0, 0, 0, stream, frame::DATA, flags];
        (&bench.delegate).write_all(&bytes).unwrap();
        assert_eq!(next(&bench.client).unwrap().stream(), u32::from(stream));
        send(&bench.client, stream.into(), frame::DATA, b"x");
        send(&bench.client, 3, frame::DATA, b"y");
        let passed = next(&bench.delegate).unwrap();
        assert_eq!((passed.stream() == 1, passed.payload() == b"x"), (stream == 1 && !ends, !ends), "{stream} {flags}");
        if !ends {
            assert_eq!(next(&bench.delegate).unwrap().payload(), b"y");
        }
    }
}

#[test]
fn each_end_closes_the_other() {
    let bench = Bench::new(&[], false);
    drop(bench.client);
    assert!(next(&bench.delegate).is_none());
    let bench = Bench::new(&[], false);
    drop(bench.delegate);
    assert!(next(&bench.client).is_none());
}

#[test]
fn a_bridge_changes_one_byte() {
    let bench = Bench::with(&[], false, true);
    bench.request(1, "State", b"\x0a\x02c1", 5);
    assert_eq!(bench.received(), (1, task_request(3, "State", b"\x0a\x02c1", 5)));
}

#[test]
fn options_are_converted_in_create() {
    let bench = Bench::new(&["-convert"], false);
    let around = |url: &str| {
        let mut any = Vec::new();
        wire::put_bytes(&mut any, 1, url.as_bytes());
        let mut create = bench.create();
        wire::put_bytes(&mut create, 10, &any);
        create
    };
    bench.request(1, "Create", &around("runtimeoptions.v1.Options"), 0);
    assert_eq!(bench.received(), (1, task_request(2, "Create", &around("containerd.runc.v1.Options"), 0)));
}

#[test]
fn others_pass_a_create_that_waits_and_mounts_are_replaced() {
    let bench = Bench::new(&[], true);
    let minute = 60_000_000_000;
    bench.folder.write("answer", "M\0\0\0\x07\x1a\x05\x0a\x03new");
    bench.hold(minute);
    bench.request(3, "State", b"\x0a\x02c1", 0);
    assert_eq!(bench.received(), (1, task_request(2, "State", b"\x0a\x02c1", 0)));
    bench.folder.write("go", "");
    let (stream, message) = bench.received();
    let timeout = wire::last(&message, 4).unwrap().unwrap().varint().unwrap();
    assert!(timeout > 0 && timeout < minute, "{timeout}");
    let mut create = Vec::new();
    wire::put_bytes(&mut create, 1, b"c1");
    wire::put_bytes(&mut create, 2, bench.folder.path().to_str().unwrap().as_bytes());
    wire::put_bytes(&mut create, 3, b"\x0a\x03new");
    wire::put_bytes(&mut create, 88, b"unknown");
    assert_eq!((stream, message), (3, task_request(2, "Create", &create, timeout)));
    assert_eq!(bench.said(), b"A");
    send(&bench.delegate, 3, frame::RESPONSE, b"");
    assert_eq!(next(&bench.client).unwrap().stream(), 1);
}

#[test]
fn a_create_that_is_left_goes_on_unchanged() {
    for ahead in [[].as_slice(), &["-ahead"]] {
        let bench = Bench::new(ahead, true);
        bench.folder.write("answer", "L");
        bench.folder.write("go", "");
        bench.hold(0);
        assert_eq!(bench.received(), (1, task_request(2, "Create", &bench.create(), 0)));
        // One worker, whether it came ahead or not.
        assert_eq!(std::fs::read_to_string(bench.folder.path().join("started")).unwrap(), "create\n");
    }
}

#[test]
fn a_worker_that_gave_up_when_its_create_came_is_replaced() {
    let bench = Bench::new(&["-ahead"], true);
    for (name, text) in [("late", ""), ("answer", "L"), ("go", "")] {
        bench.folder.write(name, text);
    }
    bench.hold(0);
    assert_eq!(bench.received(), (1, task_request(2, "Create", &bench.create(), 0)));
    assert_eq!(std::fs::read_to_string(bench.folder.path().join("started")).unwrap(), "create\ncreate\n");
}

#[test]
fn a_restore_is_the_workers_to_leave_or_to_refuse() {
    let bench = Bench::new(&["-ahead"], true);
    bench.folder.write("answer", "L");
    bench.folder.write("go", "");
    let mut create = bench.create();
    wire::put_bytes(&mut create, 8, b"/checkpoint");
    bench.request(1, "Create", &create, 0);
    assert_eq!(bench.received(), (1, task_request(2, "Create", &create, 0)));
    assert!(bench.folder.path().join("asked").exists());
}

#[test]
fn a_worker_whose_create_does_not_come_is_dismissed() {
    for (method, payload) in [("Delete", b"\x0a\x02c1".as_slice()), ("Shutdown", b"\x10\x01")] {
        let bench = Bench::new(&["-ahead"], true);
        wait_for(&bench.folder.path().join("started"));
        bench.request(1, "Kill", b"\x0a\x02c2", 0);
        bench.request(3, method, payload, 0);
        assert_eq!(bench.received().0, 1);
        assert_eq!(bench.received(), (3, task_request(2, method, payload, 0)));
        bench.folder.write("answer", "L");
        bench.folder.write("go", "");
        bench.hold(0);
        let _ = bench.received();
        let started = std::fs::read_to_string(bench.folder.path().join("started")).unwrap();
        assert_eq!(started, "create\ncreate\n", "{method}: a Create that comes all the same has a worker of its own");
    }
}

#[test]
fn nonsense_from_the_worker_leaves_the_create_unchanged() {
    for answer in ["X", "M\u{7f}\0\0\0", "M\0\0\0\x02\x0a\x00"] {
        let bench = Bench::new(&[], true);
        bench.folder.write("answer", answer);
        bench.folder.write("go", "");
        bench.hold(0);
        assert_eq!(bench.received(), (1, task_request(2, "Create", &bench.create(), 0)), "{answer:?}");
    }
}

#[test]
fn a_denied_create_is_answered_and_never_sent() {
    let bench = Bench::new(&[], true);
    bench.folder.write("answer", "D\0\0\0\x02no");
    bench.folder.write("go", "");
    bench.hold(0);
    let answer = next(&bench.client).unwrap();
    assert_eq!((answer.stream(), frame::status_code(answer.payload())), (1, 9));
    drop(bench.client);
    assert!(next(&bench.delegate).is_none());
}

const REQUIRES: &str = "[trust]\nmode = \"require\"\n";

#[test]
fn without_a_worker_a_create_goes_on_unless_a_decision_is_required() {
    let bench = Bench::new(&[], false);
    bench.request(1, "Create", &bench.create(), 0);
    assert_eq!(bench.received(), (1, task_request(2, "Create", &bench.create(), 0)));
    bench.folder.write("config.toml", REQUIRES);
    bench.request(3, "Create", &bench.create(), 0);
    let answer = next(&bench.client).unwrap();
    assert_eq!((answer.stream(), frame::status_code(answer.payload())), (3, 9));
    let text = String::from_utf8_lossy(answer.payload()).into_owned();
    assert!(text.ends_with("bestfit: bestfit-worker is not installed (trust.mode = \"require\")"), "{text}");
    bench.folder.write("config.json", r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}"#);
    bench.request(5, "Create", &bench.create(), 0);
    assert_eq!(bench.received(), (3, task_request(2, "Create", &bench.create(), 0)));
}

/// More than the address space holds, so that the thread cannot be made.
const TOO_LARGE: usize = 1 << 47;

#[test]
fn where_there_can_be_no_thread_a_create_is_as_without_a_worker() {
    for (config, sent) in [("", true), (REQUIRES, false)] {
        let bench = Bench::new(&[], true);
        bench.folder.write("config.toml", config);
        let [(client, ours), (delegate, upstream)] = [(); 2].map(|()| UnixStream::pair().unwrap());
        let (relay, to_client, to_upstream, streams) =
            (Arc::clone(&bench.relay), Mutex::default(), Mutex::default(), Mutex::default());
        let conn = Arc::new(Conn { relay, number: 7, client: ours, upstream, to_client, to_upstream, streams });
        let create = task_request(2, "Create", &bench.create(), 0);
        hold::begin(&conn, Frame::new(1, frame::REQUEST, &create), TOO_LARGE).unwrap();
        if sent {
            assert_eq!(next(&delegate).unwrap().payload(), create);
        } else {
            assert_eq!(frame::status_code(next(&client).unwrap().payload()), 9);
        }
        assert!(!bench.folder.path().join("asked").exists());
    }
}

/// The program is gone when what a dead worker left would have to be put back.
#[test]
fn a_worker_that_says_nothing_and_is_gone_refuses_where_a_decision_is_required_or_a_swap_was_begun() {
    for (config, mark, sent) in [("", "other", true), (REQUIRES, "other", false), ("", "bestfit-rebase", false)] {
        let bench = Bench::new(&[], true);
        bench.folder.write("config.toml", config);
        bench.folder.write(mark, "");
        bench.folder.write("answer", "X");
        bench.request(1, "Create", &bench.create(), 0);
        wait_for(&bench.folder.path().join("asked"));
        std::fs::remove_file(bench.folder.path().join("worker")).unwrap();
        bench.folder.write("go", "");
        if sent {
            assert_eq!(bench.received(), (1, task_request(2, "Create", &bench.create(), 0)));
        } else {
            assert_eq!(frame::status_code(next(&bench.client).unwrap().payload()), 9);
        }
    }
}

/// Both die of the same, before they do anything: that is no reason to refuse what containerd could start.
#[test]
fn where_worker_and_recover_die_the_bundle_says_whether_a_swap_was_begun() {
    for (config, mark, sent) in [("", "other", true), (REQUIRES, "other", false), ("", "bestfit-rebase", false)] {
        let bench = Bench::new(&[], true);
        for (name, text) in [("config.toml", config), (mark, ""), ("answer", "X"), ("go", ""), ("fails", "")] {
            bench.folder.write(name, text);
        }
        bench.request(1, "Create", &bench.create(), 0);
        if sent {
            assert_eq!(bench.received(), (1, task_request(2, "Create", &bench.create(), 0)));
        } else {
            assert_eq!(frame::status_code(next(&bench.client).unwrap().payload()), 9);
        }
    }
}

#[test]
fn a_container_that_is_ended_while_it_waits_is_never_created() {
    for (method, payload) in [("Kill", b"\x0a\x02c1".as_slice()), ("Delete", b"\x0a\x02c1"), ("Shutdown", b"\x10\x01")]
    {
        let bench = Bench::new(&[], true);
        bench.hold(0);
        // For another container, and for an exec: neither ends the wait.
        bench.request(3, "Kill", b"\x0a\x02c2", 0);
        bench.request(5, "Delete", b"\x0a\x02c1\x12\x01e", 0);
        bench.request(7, method, payload, 0);
        for stream in [1, 3] {
            assert_eq!(bench.received().0, stream);
        }
        assert_eq!(bench.received(), (5, task_request(2, method, payload, 0)));
        let answer = next(&bench.client).unwrap();
        assert_eq!((answer.stream(), frame::status_code(answer.payload())), (1, 1), "{method}");
        assert_eq!(bench.said(), b"");
        drop(bench.client);
        assert!(next(&bench.delegate).is_none());
    }
}

#[test]
fn a_client_that_is_gone_creates_nothing() {
    let bench = Bench::new(&[], true);
    bench.hold(0);
    bench.client.shutdown(Shutdown::Both).unwrap();
    assert_eq!(bench.said(), b"");
    assert!(next(&bench.delegate).is_none());
}

/// A `rootfs` field in an answer of the worker.
const BACK: &str = "M\0\0\0\x08\x1a\x06\x0a\x04back";

#[test]
fn a_create_is_never_sent_after_its_deadline() {
    let bench = Bench::new(&[], true);
    bench.folder.write("recovered", BACK);
    // Half of it is the worker's.
    bench.hold(1_000_000_000);
    let [sent, _] = crate::sys::poll([bench.delegate.as_raw_fd(), bench.client.as_raw_fd()], -1).unwrap();
    if sent {
        let (_, message) = bench.received();
        let left = wire::last(&message, 4).unwrap().unwrap().varint().unwrap();
        assert!(left > 0 && left <= 500_000_000, "{left}");
        assert!(message.windows(4).any(|bytes| bytes == b"back"), "without the mounts of what was put back");
    } else {
        // On a machine that is busy.
        assert_eq!(frame::status_code(next(&bench.client).unwrap().payload()), 4);
    }
    // Had it heard the end of the stream, it would have put things back by itself, and nobody had its mounts.
    assert!(!bench.folder.path().join("said").exists());
}

#[test]
fn others_pass_while_what_a_dead_worker_left_is_put_back() {
    let bench = Bench::new(&[], true);
    for (name, text) in [("answer", "M\0\0\0\x07\x1a\x05\x0a\x03new"), ("recovered", BACK), ("slow", ""), ("dies", "")]
    {
        bench.folder.write(name, text);
    }
    bench.hold(0);
    let pid = std::fs::read_to_string(bench.folder.path().join("asked")).unwrap();
    // More than a socket takes: the answer has to wait until the delegate has read this.
    let long = vec![0xff; 3 << 20];
    send(&bench.client, 3, frame::REQUEST, &long);
    let [writing] = crate::sys::poll([bench.delegate.as_raw_fd()], -1).unwrap();
    assert!(writing);
    bench.folder.write("go", "");
    let dead = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| stat.contains(") Z"));
    while !dead() {
        thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(bench.received().1, long);
    wait_for(&bench.folder.path().join("request.recover"));
    bench.request(5, "State", b"\x0a\x02c1", 0);
    assert_eq!(bench.received(), (3, task_request(2, "State", b"\x0a\x02c1", 0)));
    bench.folder.write("enough", "");
    let (stream, message) = bench.received();
    assert_eq!(stream, 5);
    assert!(message.windows(4).any(|bytes| bytes == b"back"));
    let heard = bench.folder.path().join("heard");
    wait_for(&heard);
    assert_eq!(std::fs::read(heard).unwrap(), b"A", "only then it may forget what it put back");
}

#[test]
fn a_create_that_cannot_take_its_mounts_is_refused() {
    let bench = Bench::new(&[], true);
    let mut create = bench.create();
    wire::put_bytes(&mut create, 89, &vec![0; frame::MAX_PAYLOAD - 400]);
    let mut mounts = Vec::new();
    wire::put_bytes(&mut mounts, 3, &[b"\x0a\xe8\x07".as_slice(), &[b'x'; 1000]].concat());
    let answer = [b"M\0\0".as_slice(), &u16::try_from(mounts.len()).unwrap().to_be_bytes(), &mounts].concat();
    std::fs::write(bench.folder.path().join("answer"), answer).unwrap();
    bench.folder.write("go", "");
    bench.request(1, "Create", &create, 0);
    let answer = next(&bench.client).unwrap();
    assert_eq!((answer.stream(), frame::status_code(answer.payload())), (1, 9));
    assert_eq!(bench.said(), b"R", "the worker rolls back");
    drop(bench.client);
    assert!(next(&bench.delegate).is_none());
}

/// One that was started by an older containerd does not know version 3. containerd asks again in version 2, with the same mounts:
/// the first must not have been swapped.
#[test]
fn a_create_that_the_delegate_will_not_know_does_not_wait() {
    let bench = Bench::new(&[], true);
    let create = task_request(3, "Create", &bench.create(), 0);
    send(&bench.client, 1, frame::REQUEST, &create);
    assert_eq!(bench.received(), (1, create));
    assert!(!bench.folder.path().join("asked").exists());
    bench.folder.write("answer", "L");
    bench.folder.write("go", "");
    bench.request(3, "Create", &bench.create(), 0);
    assert_eq!(bench.received(), (3, task_request(2, "Create", &bench.create(), 0)));
    assert!(bench.folder.path().join("asked").exists());
}

#[test]
fn a_sandbox_does_not_wait() {
    let bench = Bench::new(&[], true);
    bench.folder.write("config.json", r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}"#);
    bench.request(1, "Create", &bench.create(), 0);
    assert_eq!(bench.received(), (1, task_request(2, "Create", &bench.create(), 0)));
    assert!(!bench.folder.path().join("asked").exists());
}
