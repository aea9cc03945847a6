//! A running cloud as a verb reaches it: the internal APIs with the operator's certificate, EC2 with the
//! operator's keys.

use crate::credentials::Credentials;
use crate::ec2::Ec2;
use crate::home::Home;
use anyhow::Context;
use karri_proto::internal::{Caller, Identity, Role};
use karri_proto::runtime::client::InternalClient;
use karri_proto::runtime::endpoint::Endpoint;
use rand::Rng;

#[derive(Debug)]
pub struct Cloud {
    home: Home,
    caller: Caller,
}

impl Cloud {
    pub fn new(home: Home) -> Self {
        let request_id = request_id(&mut rand::thread_rng());
        Self { home, caller: Caller { identity: Identity::new(Role::Admin, "", "admin"), request_id } }
    }

    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What every call of this command is logged under.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub fn endpoint(&self, name: &str) -> anyhow::Result<Endpoint> {
        let directory = self.home.controller(name);
        Endpoint::read(&directory).with_context(|| {
            format!("no cloud is running in {} (karri up starts it)", self.home.root().display())
        })
    }

    pub fn clc(&self) -> anyhow::Result<InternalClient> {
        self.client("clc", Role::Clc)
    }

    pub fn walrus(&self) -> anyhow::Result<InternalClient> {
        self.client("walrus", Role::Walrus)
    }

    fn client(&self, name: &str, role: Role) -> anyhow::Result<InternalClient> {
        let endpoint = self.endpoint(name)?;
        Ok(InternalClient::new(&endpoint.url, role, &self.home.tls("admin"))?)
    }

    pub fn credentials(&self) -> anyhow::Result<Credentials> {
        let path = self.home.credentials();
        Credentials::read(&path)?
            .with_context(|| format!("{} does not exist (karri up writes it)", path.display()))
    }

    pub fn ec2(&self) -> anyhow::Result<Ec2> {
        Ec2::new(self.credentials()?)
    }
}

fn request_id(rng: &mut impl Rng) -> String {
    format!("cli-{:016x}", rng.r#gen::<u64>())
}
