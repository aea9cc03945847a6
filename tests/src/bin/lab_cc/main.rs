//! `lab_cc`: proves karri-nc on the machine where it runs, from outside.
//!
//! It makes a cloud of its own (CA and certificates), starts the real karri-walrus and karri-nc as
//! child processes, and plays the cluster controller to the node over mutual TLS. `deploy/lab` runs it
//! in dom0 of a Xen machine: per kind of guest, launch, console, adoption after SIGKILL, reboot,
//! termination, and that nothing is left. One line per proof on standard output, with its seconds.

mod cloud;
mod guest;
mod node;

use anyhow::{Context, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// An emulated Xen machine on a busy computer is slow; beyond this something is wrong.
pub const LIMIT: Duration = Duration::from_secs(300);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// `lab_cc BINARIES IMAGES WORK URI KIND...`
pub struct Arguments {
    /// Holds karri-nc and karri-walrus.
    pub binaries: PathBuf,
    /// Holds `tiny.vmlinuz`, `tiny.initrd` and `tiny.root.img`.
    pub images: PathBuf,
    pub work: PathBuf,
    pub uri: String,
    /// Values of `hypervisor.xen_guest`.
    pub kinds: Vec<String>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut words = std::env::args().skip(1);
    let mut next = || words.next().context("usage: lab_cc BINARIES IMAGES WORK URI KIND...");
    let (binaries, images, work, uri) = (next()?, next()?, next()?, next()?);
    let kinds: Vec<String> = words.collect();
    if kinds.is_empty() {
        bail!("no kind of guest is named");
    }
    Ok(Arguments { binaries: binaries.into(), images: images.into(), work: work.into(), uri, kinds })
}

/// One proof: prints how it went and how long it took.
pub async fn proof<T>(name: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let started = Instant::now();
    let result = work.await.with_context(|| name.to_owned());
    let verdict = if result.is_ok() { "ok  " } else { "FAIL" };
    println!("{verdict} {:6.1} s  {name}", started.elapsed().as_secs_f64());
    result
}

/// Asks until there is an answer or an error.
pub async fn eventually<T, F: Future<Output = anyhow::Result<Option<T>>>>(
    mut ask: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if started.elapsed() > LIMIT {
            bail!("not within {LIMIT:?}");
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = async {
        let arguments = arguments()?;
        let cloud =
            proof("karri-walrus holds kernel, ramdisk and root", cloud::Cloud::start(&arguments)).await?;
        for (number, kind) in arguments.kinds.iter().enumerate() {
            guest::prove(&cloud, &arguments, kind, number).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    match result.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
