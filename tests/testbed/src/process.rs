//! Child processes that end with us.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A server's process; killed when dropped.
pub struct Process {
    child: Child,
    pub log: PathBuf,
}

type Job = Box<dyn FnOnce() + Send>;

/// The death signal fires when the *thread* that spawned the child ends, and a test's thread ends with its test: so all
/// are spawned from one thread that lives as long as the process.
fn on_spawner<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, next) = channel::<Job>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || next.into_iter().for_each(|job| job()))
            .expect("the spawner's thread");
        Mutex::new(jobs)
    });
    let (done, result) = channel();
    let job = Box::new(move || drop(done.send(job())));
    spawner.lock().expect("the spawner").send(job).expect("the spawner lives");
    result.recv().expect("the spawner answers")
}

impl Process {
    /// Starts it, as another user if asked for, with its output in a file.
    pub fn spawn(mut command: Command, user: Option<(u32, u32)>, log: &Path) -> Process {
        let output = File::options().create(true).append(true).open(log).expect("a log file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a log file")).stderr(output);
        let parent = std::process::id();
        // SAFETY: only system calls that are safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if let Some((uid, gid)) = user {
                    // Before the death signal is asked for, as changing the user clears it.
                    if libc::setgroups(0, std::ptr::null()) != 0 || libc::setgid(gid) != 0 || libc::setuid(uid) != 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid().cast_unsigned() != parent {
                    return Err(std::io::Error::other("the parent is gone"));
                }
                Ok(())
            });
        }
        let program = command.get_program().to_owned();
        let child = on_spawner(move || command.spawn());
        let child = child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
        Process { child, log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is ours and has not been waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) {
        self.child.wait().expect("a child can be waited for");
    }

    pub fn kill(&mut self) {
        self.signal(libc::SIGCONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until `ready` says so.
    pub fn await_ready(&mut self, what: &str, deadline: Duration, mut ready: impl FnMut() -> bool) {
        let started = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || started.elapsed() > deadline {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(30).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                panic!("{what} did not become ready ({ended:?}); the end of its log:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a process and its children, ended ones included, have cost.
pub fn cpu_time(pid: u32) -> Duration {
    // SAFETY: asks for a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let own = ticks(pid, &[13, 14, 15, 16]);
    let children: u64 = children(pid).into_iter().map(|child| ticks(child, &[13, 14])).sum();
    Duration::from_secs_f64((own + children) as f64 / per_second)
}

/// Fields of `/proc/<pid>/stat`, counted from 0 (proc(5)); a process that has ended has none.
fn ticks(pid: u32, fields: &[usize]) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in brackets, which may hold anything.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return 0 };
    let rest: Vec<&str> = rest.split(' ').collect();
    fields.iter().filter_map(|field| rest.get(field - 2)?.parse::<u64>().ok()).sum()
}

/// The processes that it started.
pub fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A loopback port that is free now. Below those that the system gives to whoever asks for any, so that nobody takes it before
/// its server has it.
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const PORTS: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes side by side begin apart.
    let of_process = std::process::id().wrapping_mul(997);
    let port = |_| {
        let at = of_process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = u16::try_from(FIRST + at).ok()?;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    };
    (0..PORTS).find_map(port).expect("a free port")
}

/// Whether a program is on the path.
pub fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}
