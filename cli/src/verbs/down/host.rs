//! What the cloud made on the host outside its state directory.

use crate::facts::Facts;
use crate::home::Home;

#[derive(Debug)]
pub struct Host {
    things: Vec<String>,
}

impl Host {
    pub async fn survey(_home: &Home, _facts: &Facts) -> anyhow::Result<Self> {
        Ok(Self { things: Vec::new() })
    }

    pub fn describe(&self) -> Vec<String> {
        self.things.clone()
    }

    pub async fn remove(self) -> anyhow::Result<Vec<String>> {
        Ok(self.things)
    }
}
