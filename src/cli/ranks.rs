//! The processes of an MPI job, such as `mpirun -n 4 langevin train ...`.

use std::any::Any;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::interrupt::stop_flag;
use super::{Command, Common, QUIET};
use crate::ranks::first_fault;
use crate::train::{dismiss, follow};
use crate::{AdapterKind, Device, Error, Ranks, adapters};

/// The variables with which launchers tell a process the number of processes, and its own: those of Open MPI's mpirun, of MPICH and
/// its relatives, and of Slurm's srun. The inner launcher comes first, as its processes also have the variables of the outer one.
const LAUNCHERS: [[&str; 2]; 3] = [
    ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"],
    ["PMI_SIZE", "PMI_RANK"],
    ["SLURM_STEP_NUM_TASKS", "SLURM_PROCID"],
];

/// The number of processes that a launcher started, and that of this one.
fn launched(value_of: impl Fn(&str) -> Option<String>) -> (usize, usize) {
    let number = |name: &str| value_of(name)?.parse().ok();
    let told = |[count, own]: [&str; 2]| Some((number(count)?, number(own)?));
    LAUNCHERS.into_iter().find_map(told).unwrap_or((1, 0))
}

/// [`launched`] for this process.
fn of_this_process() -> (usize, usize) {
    launched(|name| std::env::var(name).ok())
}

/// This process among those of a job.
struct Job {
    ranks: Arc<dyn Ranks>,
    /// The number of this process among those on this machine, and their number.
    local: (usize, usize),
    /// The connection, which ends with the job.
    _connection: Box<dyn Any>,
}

impl Drop for Job {
    fn drop(&mut self) {
        // The others would wait for this process, and the end of MPI for them.
        if std::thread::panicking() {
            self.ranks.abort(101);
        }
    }
}

/// What the commands need to know of the job.
static RANKS: OnceLock<(Arc<dyn Ranks>, usize)> = OnceLock::new();

/// The processes that run this command together, if there are several.
pub fn team() -> Option<Arc<dyn Ranks>> {
    RANKS.get().map(|(ranks, _)| ranks.clone())
}

/// Whether another process prints and writes the results.
pub fn is_follower() -> bool {
    of_this_process().1 > 0
}

/// The exit code of a process other than rank 0, which reports the errors of all: launchers end all processes at the first one
/// that fails, so the others give it the time to do so.
pub fn after_the_first<T>(code: T) -> T {
    std::thread::sleep(Duration::from_secs(1));
    code
}

/// Runs a command. If several processes were started, rank 0 runs it, and the others work for it.
///
/// # Errors
/// Those of the command; when the processes were not started alike, or the command is not for several.
pub fn together(command: &Command, run: impl FnOnce(&Command) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let (count, _) = of_this_process();
    if count < 2 {
        return run(command);
    }
    if !matches!(command, Command::Train(_) | Command::Sample(_)) {
        let text =
            format!("{count} processes were started, but only train and sample can be shared by several; start one");
        return Err(Error::Setting(text).into());
    }
    let job = connect(count)?;
    QUIET.fetch_or(is_follower(), Ordering::Relaxed);
    crate::parallel::share_cores(job.local.1);
    let _ = RANKS.set((job.ranks.clone(), job.local.0));
    check_alike(&*job.ranks)?;
    match command {
        Command::Train(args) if is_follower() => {
            follow_on(&args.common, &job.ranks).unwrap_or_else(|e| {
                eprintln!("error: rank {}: {}", job.ranks.rank(), super::paragraph(&e.into()));
                job.ranks.abort(1)
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Train(_) => {
            let result = run(command);
            dismiss(&*job.ranks)?;
            result
        }
        _ => run(command),
    }
}

#[cfg(feature = "mpi")]
fn connect(_: usize) -> crate::Result<Job> {
    let (connection, ranks) = crate::ranks::mpi::Job::join()?;
    Ok(Job { local: ranks.on_this_machine(), ranks: Arc::new(ranks), _connection: Box::new(connection) })
}

#[cfg(not(feature = "mpi"))]
fn connect(count: usize) -> crate::Result<Job> {
    Err(Error::Setting(format!(
        "{count} processes were started, but this program was built without MPI and would do the same work {count} times; build it \
         with --features mpi (which needs: apt install libopenmpi-dev openmpi-bin libclang-dev), or start one process"
    )))
}

/// Trains with rank 0 until it is done. Only rank 0 decides about signals, which all processes of a job receive.
fn follow_on(common: &Common, ranks: &Arc<dyn Ranks>) -> crate::Result<()> {
    let _ = stop_flag();
    follow(&common.open()?, ranks)
}

/// Checks that all processes run the same program with the same options, except for `--device`.
fn check_alike(ranks: &dyn Ranks) -> crate::Result<()> {
    let commit = option_env!("LANGEVIN_COMMIT").unwrap_or("unknown commit");
    let program = format!("langevin {} ({commit})", env!("CARGO_PKG_VERSION"));
    for (what, own) in [("program", program), ("options", options(std::env::args().skip(1)))] {
        let all: Vec<String> =
            ranks.gather(own.as_bytes())?.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        if let Some(rank) = (1..all.len()).find(|rank| all[*rank] != all[0]) {
            let text =
                format!("rank {rank} was started with other {what} than rank 0: {} instead of {}", all[rank], all[0]);
            return Err(Error::Setting(text));
        }
    }
    Ok(())
}

/// The options without `--device`, which may differ.
fn options(mut args: impl Iterator<Item = String>) -> String {
    let mut kept = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--device" => drop(args.next()),
            other if other.starts_with("--device=") => {}
            _ => kept.push(arg),
        }
    }
    kept.join(" ")
}

/// The outcome of the same work on all processes: that of this one, or the error of another.
///
/// # Errors
/// That of this process, otherwise the first one of the others.
pub fn agreed<T>(own: anyhow::Result<T>) -> anyhow::Result<T> {
    let Some(ranks) = team() else { return own };
    let fault = first_fault(&*ranks, own.as_ref().err().map(super::paragraph))?;
    let own = own?;
    fault.map_or(Ok(own), |fault| Err(Error::Input(fault).into()))
}

/// The device of this process: of a list, separated by commas, those on one machine take one each. With `auto`, they take
/// the best adapters in turn.
pub fn device(request: Option<&str>) -> crate::Result<Device> {
    let named = |request: Option<&str>| request.map_or_else(Device::auto, Device::named);
    let Some((_, local)) = RANKS.get() else { return named(request) };
    let variable = std::env::var("LANGEVIN_DEVICE").ok().filter(|name| !name.is_empty());
    let list = request.map(str::to_string).or(variable).unwrap_or("auto".into());
    let names: Vec<&str> = list.split(',').map(str::trim).collect();
    let name = names[local % names.len()];
    if !name.eq_ignore_ascii_case("auto") {
        return Device::named(name);
    }
    let found = adapters();
    let best = found.iter().map(|adapter| adapter.kind).min().filter(|kind| *kind < AdapterKind::Software);
    let equal: Vec<usize> = (0..found.len()).filter(|i| Some(found[*i].kind) == best).collect();
    match equal.len() {
        0 => Device::named("auto"),
        count => Device::named(&equal[local % count].to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_launcher_counts() {
        let environment = |list: &'static [(&str, &str)]| {
            move |name: &str| list.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        let slurm = environment(&[("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "3")]);
        let mpirun = environment(&[
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("SLURM_PROCID", "1"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
            ("OMPI_COMM_WORLD_RANK", "0"),
        ]);
        assert_eq!((launched(slurm), launched(mpirun)), ((4, 3), (8, 0)));
        // A shell in an allocation of Slurm has no step.
        assert_eq!(launched(environment(&[("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")])), (1, 0));
    }

    #[test]
    fn only_the_device_may_differ_between_ranks() {
        let options = |text: &str| options(text.split(' ').map(str::to_string));
        assert_eq!(options("train a.npy --device 1 --out b --device=cpu"), "train a.npy --out b");
        assert_eq!(options("train a.npy --out b --device"), "train a.npy --out b");
    }
}
