//! Owns Create: its options are converted, and unless bestfit has no business with it, it waits for the worker's decision
//! while other requests pass. A Create that waited goes on at most once, never after its deadline, after its client is
//! gone, or after a Delete, Kill or Shutdown for its container.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::bundle::{self, Role};
use crate::conn::{Conn, lock};
use crate::frame::{self, CANCELLED, DEADLINE_EXCEEDED, FAILED_PRECONDITION, Frame};
use crate::log;
use crate::options;
use crate::request::{self, Create, Request};
use crate::worker::{Answer, RECOVER_WITHIN, Worker};

/// Stack of the thread that waits, in bytes.
pub(crate) const STACK: usize = 128 << 10;
/// Creates that wait at the same time; more go on at once, or are refused where a decision is required.
const MAX_HOLDS: usize = 64;
/// How long a worker may be silent where the request has no deadline: `pull_deadline = "wait"` waits up to an hour.
const SILENT: Duration = Duration::from_secs(3660);
/// What is left of the deadline for the delegate.
const FOR_THE_DELEGATE: Duration = Duration::from_secs(2);

/// A Create that waits.
#[derive(Debug)]
pub(crate) struct Hold {
    id: String,
    /// The number of the connection that it came over.
    conn: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// With the worker's socket, once there is one.
    Waiting(Option<UnixStream>),
    Gone,
    Cancelled,
}

impl Hold {
    fn cancel(&self) {
        let mut state = lock(&self.state);
        if let State::Waiting(Some(worker)) = &*state {
            let _ = worker.shutdown(Shutdown::Both);
        }
        *state = State::Cancelled;
    }

    /// Takes the one way on; false where it was cancelled before.
    fn go(&self) -> bool {
        let mut state = lock(&self.state);
        let waits = matches!(*state, State::Waiting(_));
        if waits {
            *state = State::Gone;
        }
        waits
    }

    /// Waits again, after [`Self::go`] was true; false where it was cancelled since.
    fn wait_again(&self) -> bool {
        let mut state = lock(&self.state);
        let gone = matches!(*state, State::Gone);
        if gone {
            *state = State::Waiting(None);
        }
        gone
    }

    fn is_cancelled(&self) -> bool {
        matches!(*lock(&self.state), State::Cancelled)
    }

    fn watch(&self, worker: &Worker) {
        if let State::Waiting(slot) = &mut *lock(&self.state) {
            *slot = worker.handle().ok();
        } else {
            // Cancelled before there was a worker: it must not wait for anything.
            let _ = worker.handle().map(|handle| handle.shutdown(Shutdown::Both));
        }
    }
}

/// All Creates that wait.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Vec<Arc<Hold>>>);

impl Holds {
    fn add(&self, id: &str, conn: u64) -> Option<Arc<Hold>> {
        let mut holds = lock(&self.0);
        if holds.len() >= MAX_HOLDS {
            return None;
        }
        let state = Mutex::new(State::Waiting(None));
        let hold = Arc::new(Hold { id: id.to_owned(), conn, state });
        holds.push(Arc::clone(&hold));
        Some(hold)
    }

    fn remove(&self, hold: &Arc<Hold>) {
        lock(&self.0).retain(|other| !Arc::ptr_eq(other, hold));
    }

    /// Cancels the Creates of a container, or all where the id is empty.
    pub(crate) fn cancel(&self, id: &str) {
        lock(&self.0).iter().filter(|hold| id.is_empty() || hold.id == id).for_each(|hold| hold.cancel());
    }

    /// Cancels the Creates of a connection that is gone.
    pub(crate) fn cancel_of(&self, conn: u64) {
        lock(&self.0).iter().filter(|hold| hold.conn == conn).for_each(|hold| hold.cancel());
    }
}

/// A Create on its way.
struct Job {
    conn: Arc<Conn>,
    hold: Arc<Hold>,
    frame: Frame,
    deadline: Option<Instant>,
    limit: Instant,
    worker: Worker,
}

/// Takes a Create frame: it goes on at once, or waits in a thread of its own with such a stack. Returns a frame to use again.
pub(crate) fn begin(conn: &Arc<Conn>, frame: Frame, stack: usize) -> io::Result<Frame> {
    let frame = convert(conn, frame);
    let Ok(request) = Request::parse(frame.payload()) else { return conn.send(frame, |_| true) };
    let Ok(create) = Create::parse(request.payload) else { return conn.send(frame, |_| true) };
    if let Err(error) = conn.relay.record.add(Path::new(create.bundle)) {
        log::warn(&format!("the bundle {} does not say where the delegate listens: {error}", create.bundle));
    }
    let (frame, next) = match prepare(conn, &request, &create) {
        Next::Waits { hold, deadline, limit, worker } => {
            let job = Job { conn: Arc::clone(conn), hold, frame, deadline, limit, worker };
            match wait_aside(job, stack) {
                None => return Ok(Frame::default()),
                Some(job) => without_thread(job),
            }
        }
        next => (frame, next),
    };
    if let Next::Refused(why) = next {
        conn.answer(frame::failure(frame.stream(), FAILED_PRECONDITION, &why))?;
        return Ok(frame);
    }
    conn.send(frame, |_| true)
}

/// Converts the options in a Create frame, where the delegate wants that.
fn convert(conn: &Conn, frame: Frame) -> Frame {
    if !conn.relay.convert {
        return frame;
    }
    let Ok(request) = Request::parse(frame.payload()) else { return frame };
    let Some(payload) = options::create(request.payload).changed() else { return frame };
    match request::rebuild(frame.payload(), &payload, None) {
        Ok(message) if message.len() <= frame::MAX_PAYLOAD => frame.with_payload(&message),
        _ => frame,
    }
}

/// What happens to a Create next.
enum Next {
    Goes,
    /// With the reason.
    Refused(String),
    Waits {
        hold: Arc<Hold>,
        deadline: Option<Instant>,
        limit: Instant,
        worker: Worker,
    },
}

impl Next {
    /// What follows where there is no worker.
    fn without_worker(conn: &Conn, create: &Create, why: &str) -> Self {
        match conn.relay.workers.undecided(create.bundle, why) {
            Answer::Deny(why) => Self::Refused(why),
            Answer::Leave | Answer::Mounts(_) => Self::Goes,
        }
    }
}

/// Finds the worker for a Create that bestfit has business with.
fn prepare(conn: &Conn, request: &Request, create: &Create) -> Next {
    let relay = &conn.relay;
    // The delegate does not know this call, and says so; containerd then sends another one, which is the one to wait. Were this
    // one swapped as well, the other would name a snapshot that is gone.
    if !request.version_2 && relay.record.version < 3 {
        return Next::Goes;
    }
    // One that restores a checkpoint is the worker's, too: it leaves it, or refuses it where trust is required.
    if bundle::role(Path::new(create.bundle)) == Role::Sandbox {
        relay.workers.dismiss(create.id);
        return Next::Goes;
    }
    let now = Instant::now();
    let deadline = (request.timeout > 0).then(|| now + Duration::from_nanos(request.timeout));
    let limit = match deadline.map(|deadline| deadline - now) {
        None => now + SILENT,
        Some(left) if left > 2 * FOR_THE_DELEGATE => now + left - FOR_THE_DELEGATE,
        Some(left) => now + left / 2,
    };
    let Some(hold) = relay.holds.add(create.id, conn.number) else {
        relay.workers.dismiss(create.id);
        return Next::without_worker(conn, create, &format!("{MAX_HOLDS} creates wait already"));
    };
    match relay.workers.take(create) {
        Ok(worker) => {
            hold.watch(&worker);
            Next::Waits { hold, deadline, limit, worker }
        }
        Err(why) => {
            relay.holds.remove(&hold);
            Next::without_worker(conn, create, &why)
        }
    }
}

/// Runs a job in a thread; gives it back where there can be none.
fn wait_aside(job: Job, stack: usize) -> Option<Job> {
    let slot = Arc::new(Mutex::new(Some(job)));
    let theirs = Arc::clone(&slot);
    let run = move || {
        let job = lock(&theirs).take();
        if let Some(job) = job {
            finish(job);
        }
    };
    let spawned = thread::Builder::new().stack_size(stack).spawn(run);
    spawned.err().and_then(|_| lock(&slot).take())
}

/// Whoever waited here would hold up the connection, also what ends the wait: it is as if there were no worker.
fn without_thread(job: Job) -> (Frame, Next) {
    let Job { conn, hold, frame, mut worker, .. } = job;
    // It was asked for nothing yet.
    worker.give_up();
    conn.relay.holds.remove(&hold);
    let why = "there can be no thread to wait for bestfit-worker";
    let next = with_create(&frame, |create| Next::without_worker(&conn, create, why));
    (frame, next.unwrap_or(Next::Goes))
}

/// Waits for the worker's answer and does what it says; then waits for the worker's end.
fn finish(job: Job) {
    let Job { conn, hold, frame, deadline, limit, mut worker } = job;
    let ask = |worker: &mut Worker| worker.ask(Request::parse(frame.payload()).ok()?.payload, deadline, limit);
    let mut answer = ask(&mut worker);
    if answer.is_none()
        && worker.gave_up()
        && !hold.is_cancelled()
        && let Some(another) = with_create(&frame, |create| conn.relay.workers.renew(create)).flatten()
    {
        worker = another;
        hold.watch(&worker);
        answer = ask(&mut worker);
    }
    let answer = answer.unwrap_or_else(|| {
        log::warn("bestfit-worker gave no answer");
        if hold.is_cancelled() {
            worker.give_up();
        } else {
            worker.stop();
        }
        recovered(&conn, &frame)
    });
    // A client that cannot be written to is gone, and so is the connection.
    let _ = conclude(&conn, &hold, frame, deadline, answer, &mut worker);
    conn.relay.holds.remove(&hold);
    drop((conn, hold));
    worker.reap();
}

/// What to do instead of what a dead worker said or would have said.
fn recovered(conn: &Conn, frame: &Frame) -> Answer {
    let recover = |create: &Create| conn.relay.workers.recover(create.id, create.bundle, RECOVER_WITHIN);
    with_create(frame, recover).unwrap_or(Answer::Leave)
}

/// Does something with what a frame asks to create, if it can be read.
fn with_create<T>(frame: &Frame, act: impl FnOnce(&Create) -> T) -> Option<T> {
    let request = Request::parse(frame.payload()).ok()?;
    Some(act(&Create::parse(request.payload).ok()?))
}

/// Why a Create does not go on with an answer.
enum Obstacle {
    Late,
    Cancelled,
    /// Its worker died after it had answered.
    Orphaned,
    /// The worker's mounts cannot be put into it.
    Unfit,
}

fn conclude(
    conn: &Conn,
    hold: &Hold,
    frame: Frame,
    deadline: Option<Instant>,
    answer: Answer,
    worker: &mut Worker,
) -> io::Result<()> {
    let stream = frame.stream();
    let refuse = |code, message: &str| conn.answer(frame::failure(stream, code, message));
    if let Answer::Deny(reason) = &answer
        && hold.go()
    {
        worker.accept();
        return refuse(FAILED_PRECONDITION, reason);
    }
    let mut obstacle = None;
    let frame = conn.send(frame, |frame| {
        obstacle = go_on(hold, frame, deadline, &answer, worker).err();
        obstacle.is_none()
    })?;
    let Some(obstacle) = obstacle else { return Ok(()) };
    if let Obstacle::Orphaned = obstacle {
        worker.stop();
        // Other requests pass meanwhile: it takes seconds.
        let answer = recovered(conn, &frame);
        return conclude(conn, hold, frame, deadline, answer, worker);
    }
    worker.reject();
    match obstacle {
        Obstacle::Late => refuse(DEADLINE_EXCEEDED, "bestfit: the time for Create ran out while an image was chosen"),
        Obstacle::Unfit => {
            refuse(FAILED_PRECONDITION, "bestfit: Create is too long with the mounts of the chosen image")
        }
        _ => refuse(CANCELLED, "bestfit: the container was ended while an image was chosen"),
    }
}

/// Takes the way on, and puts the answer into the frame. Requests of the same connection wait for it: it must not take long.
fn go_on(
    hold: &Hold,
    frame: &mut Frame,
    deadline: Option<Instant>,
    answer: &Answer,
    worker: &mut Worker,
) -> Result<(), Obstacle> {
    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        return Err(Obstacle::Late);
    }
    let changed = changed(frame, answer, deadline)?;
    if !hold.go() {
        return Err(Obstacle::Cancelled);
    }
    // Said before the first byte goes out: a worker that hears nothing rolls back.
    if matches!(answer, Answer::Mounts(_)) && !worker.is_stopped() && !worker.accept() {
        return Err(if hold.wait_again() { Obstacle::Orphaned } else { Obstacle::Cancelled });
    }
    if let Some(changed) = changed {
        *frame = changed;
    }
    Ok(())
}

/// The frame as it goes on: with the worker's mounts, and with the time that is left; none where it stays as it is.
fn changed(frame: &Frame, answer: &Answer, deadline: Option<Instant>) -> Result<Option<Frame>, Obstacle> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_nanos());
    let left = left.map(|left| u64::try_from(left).unwrap_or(u64::MAX).max(1));
    let message = frame.payload();
    let with = |mounts: Option<&[u8]>| {
        let request = Request::parse(message).ok()?;
        let payload = mounts.map(|mounts| request::with_rootfs(request.payload, mounts)).transpose().ok()?;
        let message = request::rebuild(message, payload.as_deref().unwrap_or(request.payload), left).ok()?;
        (message.len() <= frame::MAX_PAYLOAD).then(|| frame.with_payload(&message))
    };
    match answer {
        // The old mounts are gone: without the new ones it must not go on.
        Answer::Mounts(mounts) => with(Some(mounts)).ok_or(Obstacle::Unfit).map(Some),
        _ => Ok(left.and_then(|_| with(None))),
    }
}
