//! The node under proof: karri-nc as a child process, and its cluster controller's client of it.

use crate::cloud::{CLUSTER, Cloud, child, controller_section, endpoint, files};
use crate::{Arguments, eventually};
use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use karri_proto::ids::InstanceId;
use karri_proto::instance::{InstanceIntent, InstanceReport, Phase};
use karri_proto::internal::instances::{Cursor, InstanceService};
use karri_proto::internal::{Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use std::time::Duration;
use tokio::process::Child;

pub struct Node {
    process: Child,
    client: InternalClient,
    caller: Caller,
}

impl Node {
    /// Starts it and waits until it has said hello: from then on it knows its hypervisor.
    pub async fn start(cloud: &Cloud, arguments: &Arguments, kind: &str) -> anyhow::Result<Self> {
        let state_dir = cloud.work.join("nc");
        let identity = Identity::new(Role::Nc, CLUSTER, "node-1");
        let config = format!(
            "{}[node]\ncc_url = {:?}\nwalrus_url = {:?}\n[hypervisor]\nuri = {:?}\nxen_guest = {kind:?}\n",
            controller_section(&state_dir, &files(&cloud.authority, &cloud.work, &identity)?),
            cloud.cc_url,
            cloud.walrus_url,
            arguments.uri,
        );
        cloud.hello_forget();
        let mut process = child(arguments, "karri-nc", &config).await?;
        let url = endpoint(&state_dir, &mut process).await?.url;
        cloud.hello().await?;
        let identity = Identity::new(Role::Cc, CLUSTER, "cc");
        let client = InternalClient::new(&url, Role::Nc, &files(&cloud.authority, &cloud.work, &identity)?)?;
        Ok(Self { process, client, caller: Caller { identity, request_id: "lab".into() } })
    }

    /// SIGKILL: it has no chance to tidy up.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    pub async fn put(&self, intent: &InstanceIntent) -> anyhow::Result<()> {
        self.client.instance_put(&self.caller, intent.clone()).await?;
        Ok(())
    }

    pub async fn forget(&self, id: &InstanceId) -> anyhow::Result<()> {
        Ok(self.client.instance_forget(&self.caller, id).await?)
    }

    pub async fn report(&self, id: &InstanceId) -> anyhow::Result<Option<InstanceReport>> {
        let mut cursor = Cursor::default();
        let mut found = None;
        loop {
            let page = self.client.instance_reports(&self.caller, cursor, Duration::ZERO).await?;
            found = page.reports.into_iter().rfind(|report| report.id == *id).or(found);
            cursor = page.next;
            if page.caught_up {
                return Ok(found);
            }
        }
    }

    /// Until the newest report covers the intent and has the phase.
    pub async fn reaches(&self, intent: &InstanceIntent, phase: Phase) -> anyhow::Result<InstanceReport> {
        eventually(|| async {
            let Some(report) = self.report(&intent.id).await? else { return Ok(None) };
            if report.phase == Phase::Failed && phase != Phase::Failed {
                bail!("the instance failed: {:?}", report.reason);
            }
            Ok((report.phase == phase && report.covers(intent.generation, intent.attempt)).then_some(report))
        })
        .await
    }

    pub async fn console(&self, id: &InstanceId) -> anyhow::Result<String> {
        let output = self.client.instance_console(&self.caller, id).await?;
        Ok(String::from_utf8_lossy(&STANDARD.decode(output.base64)?).into_owned())
    }

    /// Until the guest has written `text` `times` times.
    pub async fn console_shows(&self, id: &InstanceId, text: &str, times: usize) -> anyhow::Result<()> {
        let shown = eventually(|| async {
            let console = self.console(id).await?;
            Ok((console.matches(text).count() >= times).then_some(()))
        });
        match shown.await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}: {text:?} on the console, which says {:?}", self.console(id).await?),
        }
    }
}
