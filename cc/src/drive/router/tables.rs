//! The tables of a router's namespace: written whole, for nobody else has rules there.

use crate::drive::DriveError;
use crate::drive::dnsmasq::spawn_inside;
use karri_net::Namespace;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const TIMEOUT: Duration = Duration::from_secs(30);
const LOCK_SECS: &str = "10";

#[derive(Debug, Default)]
pub struct Tables {
    /// What was put last, and how the kernel printed it then.
    put: Option<Put>,
}

#[derive(Debug)]
struct Put {
    text: String,
    printed: String,
    /// The kernel's number for all changes of rules. `None`: this host's iptables does not count.
    generation: Option<u32>,
}

impl Tables {
    /// `generation`: as it is now. `true`: something had to be put.
    pub async fn apply(
        &mut self,
        namespace: &Namespace,
        text: &str,
        generation: Option<u32>,
    ) -> Result<bool, DriveError> {
        if let Some(put) = self.put.as_mut().filter(|put| put.text == text) {
            if put.generation.is_some() && put.generation == generation {
                return Ok(false);
            }
            if put.printed == printed(namespace).await? {
                put.generation = generation;
                return Ok(false);
            }
        }
        self.put = None;
        run(namespace, "iptables-restore", &["--wait", LOCK_SECS], text).await?;
        let printed = printed(namespace).await?;
        self.put = Some(Put { text: text.to_owned(), printed, generation: None });
        Ok(true)
    }

    /// Whether rules were right when the kernel's number was this.
    pub fn were_right_at(&self, generation: Option<u32>) -> bool {
        generation.is_some() && self.put.as_ref().is_some_and(|put| put.generation == generation)
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        self.put = None;
    }
}

/// Without what changes by itself: counters, and when it was printed.
async fn printed(namespace: &Namespace) -> Result<String, DriveError> {
    let saved = run(namespace, "iptables-save", &[], "").await?;
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.map(|line| line.split(" [").next().unwrap_or_default().to_owned() + "\n").collect())
}

pub async fn run(
    namespace: &Namespace,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, DriveError> {
    let failed = |cause: &dyn std::fmt::Display| DriveError::new(program, cause);
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    let mut child = spawn_inside(namespace, &mut command).map_err(|cause| failed(&cause))?;
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(TIMEOUT, work).await.map_err(|_| failed(&"no answer in time"))?;
    let output = output.map_err(|cause| failed(&cause))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
}
