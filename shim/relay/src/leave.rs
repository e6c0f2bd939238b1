//! Owns the relay that `start` leaves behind: it is started beside the delegate, so that neither waits for the other, and
//! told afterwards what it is for. A relay that is never told ends by itself.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bundle::Record;
use crate::flags::Flags;
use crate::log;
use crate::serve::{BRIDGE, LISTENS};

/// How long a relay may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// A relay that waits to be told.
pub(crate) struct Left(UnixStream);

impl Left {
    /// Starts this program again, as the relay. `ahead`: with a worker that looks at the container before its Create comes.
    pub(crate) fn behind(flags: &Flags, convert: bool, ahead: bool, cgroup: Option<&str>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let own = std::env::current_exe().ok().filter(|path| path.is_file()).unwrap_or_else(|| "/proc/self/exe".into());
        let mut command = Command::new(own);
        command.arg0(&flags.program);
        command.args(["-namespace", &flags.namespace, "-id", &flags.id, "-address", &flags.address]);
        for (flag, wanted) in [("-convert", convert), ("-ahead", ahead)] {
            if wanted {
                command.arg(flag);
            }
        }
        command.arg("serve");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        settle(command.spawn()?.id(), cgroup);
        Ok(Self(ours))
    }

    /// Tells it what it is for, and returns once clients can connect at the record's path.
    pub(crate) fn listen(mut self, record: &Record, bridge: bool) -> io::Result<()> {
        let bridge = if bridge { BRIDGE } else { "" };
        self.0.write_all(format!("{}{bridge}\n", record.to_text()).as_bytes())?;
        self.0.shutdown(Shutdown::Write)?;
        self.0.set_read_timeout(Some(LISTENS_WITHIN))?;
        let mut said = [0];
        self.0.read_exact(&mut said)?;
        if said == [LISTENS] { Ok(()) } else { Err(io::Error::other("it does not listen")) }
    }
}

/// Gives the relay the place among processes that the delegate gives its own: killed for memory just before containerd
/// would be, and in the cgroup that the options name. Where that is not permitted, it is as it is.
fn settle(pid: u32, cgroup: Option<&str>) {
    let parent = format!("/proc/{}/oom_score_adj", std::os::unix::process::parent_id());
    let score = std::fs::read_to_string(parent).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(score) = score {
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), (score + 1).min(1000).to_string());
    }
    let Some(cgroup) = cgroup else { return };
    let root = Path::new("/sys/fs/cgroup");
    let below = cgroup.trim_start_matches('/');
    let unified = root.join("cgroup.controllers").exists();
    let hierarchies: Vec<_> = match std::fs::read_dir(root) {
        Ok(entries) if !unified => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        _ => vec![root.to_owned()],
    };
    let joined = hierarchies.iter().filter(|hierarchy| {
        let file = hierarchy.join(below).join("cgroup.procs");
        file.exists() && std::fs::write(file, pid.to_string()).is_ok()
    });
    if joined.count() == 0 {
        log::warn(&format!("the relay did not join the cgroup {cgroup}"));
    }
}
