//! The verbs, one file each. A verb gathers values from a running cloud and prints them.

pub mod account;
pub mod cert;
pub mod cluster;
pub mod down;
pub mod env;
pub mod image;
pub mod key;
pub mod net;
pub mod node;
pub mod status;
pub mod user;
pub mod walrus;
pub mod why;

use crate::args::{Arguments, Verb};
use crate::cloud::Cloud;
use crate::home::Home;

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { state_dir, output, verb } = arguments;
    let cloud = |state_dir| Home::for_verb(state_dir).map(Cloud::new);
    match verb {
        Verb::Up(wanted) => crate::up::run(state_dir, wanted, output).await,
        Verb::Down(wanted) => down::run(&Home::for_verb(state_dir)?, &wanted).await,
        Verb::Env(_) => env::run(&cloud(state_dir)?, output),
        Verb::Status(_) => status::run(&cloud(state_dir)?, output).await,
        Verb::Image(verb) => image::run(&cloud(state_dir)?, verb, output).await,
        Verb::Why(wanted) => why::run(&cloud(state_dir)?, &wanted.id, output).await,
        Verb::Account(verb) => account::run(&cloud(state_dir)?, verb, output).await,
        Verb::User(verb) => user::run(&cloud(state_dir)?, verb, output).await,
        Verb::Key(verb) => key::run(&cloud(state_dir)?, verb, output).await,
        Verb::Cert(verb) => cert::run(&cloud(state_dir)?, verb, output).await,
        Verb::Cluster(verb) => cluster::run(&cloud(state_dir)?, verb, output),
        Verb::Net(verb) => net::run(&cloud(state_dir)?, verb, output).await,
        Verb::Node(verb) => node::run(state_dir, verb, output).await,
        Verb::Walrus(verb) => walrus::run(&cloud(state_dir)?, verb, output).await,
    }
}

/// Unix milliseconds as people read them.
fn when(unix_ms: i64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    at.ok().and_then(|at| at.format(&format).ok()).unwrap_or_default()
}
