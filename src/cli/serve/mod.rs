//! `langevin serve`: a page in the browser of this machine that shows the runs of a folder while they are trained.

mod answer;
mod describe;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Error;
use crate::io::quoted;
use crate::text::count;
use crate::train::find_runs;
use anyhow::Context;
use clap::Args;
use oxhttp::Server;
use serde_json::json;

use self::answer::Site;
use super::interrupt::stop_flag;
use super::{Common, whole};

/// How many levels of folders below RUNS may contain runs, as a folder of sweeps does.
pub(super) const DEPTH: usize = 3;

/// The first port that is tried, and the number of them.
const PORT: u16 = 8420;
const PORTS: u16 = 20;

/// Show runs in the browser while they are trained: curves, previews, settings and samples
#[derive(Args)]
pub struct ServeArgs {
    /// A folder of runs, or a run
    runs: PathBuf,
    /// Port of the address http://127.0.0.1:PORT, 0 for any [default: the first free one from 8420 on]
    #[arg(long, value_parser = whole::<u16>, allow_negative_numbers = true)]
    port: Option<u16>,
    #[command(flatten)]
    pub common: Common,
}

/// The time after which a connection without requests is closed, so that idle ones do not keep others out.
const IDLE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 512;

pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let name = args.runs.display();
    if !args.runs.is_dir() {
        return Err(Error::Input(format!(
            "{name} is not a folder; name a folder of runs, such as the one that contains --out of langevin train"
        ))
        .into());
    }
    let root = args.runs.canonicalize().with_context(|| name.to_string())?;
    let address = free_address(args.port)?;
    let found = find_runs(&root, DEPTH).len();
    let site = Site::new(root, args.runs.to_string_lossy().into_owned(), address.port());
    let stopped = stop_flag()?;
    // A page asks every two seconds. Each connection has a thread.
    let server = Server::new(move |request| site.answer(request)).bind(address);
    let server = server.with_global_timeout(IDLE).with_max_concurrent_connections(CONNECTIONS);
    let _listening = server.spawn().with_context(|| format!("cannot serve at {address}"))?;
    match args.common.json {
        true => say!("{}", json!({"address": format!("http://{address}/"), "runs": args.runs, "found": found})),
        false => say!(
            "serving {} in {} at http://{address}/ for browsers on this machine; Ctrl-C stops",
            count(found, "run"),
            quoted(&args.runs.to_string_lossy())
        ),
    }
    while !stopped.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(ExitCode::SUCCESS)
}

/// An address on this machine at which no other program listens.
fn free_address(port: Option<u16>) -> crate::Result<SocketAddr> {
    let ports = match port {
        Some(port) => vec![port],
        None => (PORT..PORT + PORTS).collect(),
    };
    let listening = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).and_then(|free| free.local_addr());
    match ports.iter().find_map(|port| listening(port).ok()) {
        Some(address) => Ok(address),
        None => Err(Error::Setting(match port {
            Some(port) => {
                format!("port {port} of this machine is in use or reserved; choose another --port, or omit it")
            }
            None => format!("the ports {PORT} to {} of this machine are in use; use --port 0", PORT + PORTS - 1),
        })),
    }
}
