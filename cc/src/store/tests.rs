//! What is written comes back, and nothing else does.

use super::*;
use crate::app::book::{Book, Settings};
use crate::app::node::NodeRecord;
use crate::app::placement::Policy;
use crate::app::plan::PLACE_PATIENCE_MS;
use crate::app::samples::{facts, intent, next};
use karri_proto::instance::{Desired, Phase};
use karri_proto::internal::instances::{Cursor, ReportPage};
use karri_proto::network::{NetworkMode, SegmentDriver};

const VXLAN: SegmentDriver = SegmentDriver::Vxlan;
const SETTINGS: Settings = Settings { policy: Policy::LeastLoaded, node_lost_ms: 60_000, tunnels: false };

fn empty_page(epoch: u64) -> ReportPage {
    ReportPage {
        next: Cursor { epoch, sequence: 0 },
        restarted: true,
        caught_up: true,
        reports: Vec::new(),
        resources: None,
    }
}

#[tokio::test]
async fn a_book_comes_back_from_the_store_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cc.sqlite");
    let (mut store, reader) = Store::open(&path, 7).await.unwrap();
    let mut book = Book::load(store.load().await.unwrap(), SETTINGS, 0);
    let record = NodeRecord {
        owner: "n".into(),
        url: "https://n".into(),
        tunnel: Some([192, 0, 2, 1].into()),
        facts: facts("n", 3),
    };
    book.hello(record.clone(), 0).unwrap();
    book.node_page("n", Cursor::default(), empty_page(1), 0);
    for number in 1..=4 {
        book.put(intent(number), 0).unwrap();
    }
    book.put(next(&intent(2), Desired::Stopped), 0).unwrap();
    book.put(next(&intent(4), Desired::Terminated), 0).unwrap(); // found no room
    book.forget(&intent(4).id, 0).unwrap();
    store.commit(&book.take_changes()).await.unwrap();
    drop(store);

    let (mut store, _) = Store::open(&path, 8).await.unwrap();
    let snapshot = store.load().await.unwrap();
    assert_eq!((snapshot.epoch, snapshot.sequence), (7, book.sequence()));
    assert_eq!(snapshot.nodes, [record]);
    assert_eq!(snapshot.tombstones.len(), 1);
    let mut rows = snapshot.rows;
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(Some(&row), book.row(&row.id));
    }
    let left = ("n".to_owned(), intent(1).id);
    let forgotten = Changes {
        nodes: [("n".to_owned(), None)].into(),
        left_behind: [(left.clone(), true)].into(),
        ..Changes::default()
    };
    store.commit(&forgotten).await.unwrap();
    let snapshot = store.load().await.unwrap();
    assert_eq!((snapshot.nodes, snapshot.left_behind), (Vec::new(), vec![left.clone()]));
    store.commit(&Changes { left_behind: [(left, false)].into(), ..Changes::default() }).await.unwrap();
    assert_eq!(store.load().await.unwrap().left_behind, []);
    let stored = reader.intent(&intent(2).id).await.unwrap().unwrap();
    assert_eq!(stored, next(&intent(2), Desired::Stopped));
    assert_eq!(reader.intent(&intent(4).id).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_changes_keeps_its_intent() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, reader) = Store::open(&directory.path().join("cc.sqlite"), 1).await.unwrap();
    let mut book = Book::load(Snapshot::default(), SETTINGS, 0);
    book.put(intent(1), 0).unwrap();
    store.commit(&book.take_changes()).await.unwrap();
    book.tick(PLACE_PATIENCE_MS);
    assert_eq!(book.row(&intent(1).id).unwrap().phase, Phase::Failed, "no node came");
    store.commit(&book.take_changes()).await.unwrap();
    assert_eq!(reader.intent(&intent(1).id).await.unwrap(), Some(intent(1)));
    assert_eq!(store.load().await.unwrap().rows[0].phase, Phase::Failed);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cc.sqlite");
    let (mut store, _) = Store::open(&path, 1).await.unwrap();
    sqlx::query("INSERT INTO migrations (version) VALUES (99)").execute(&mut store.connection).await.unwrap();
    drop(store);
    assert!(Store::open(&path, 1).await.unwrap_err().to_string().contains("newer"));
}

#[tokio::test]
async fn a_database_from_before_vpcs_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cc.sqlite");
    let (mut store, _) = Store::open(&path, 7).await.unwrap();
    let mut book = Book::load(store.load().await.unwrap(), SETTINGS, 0);
    let record =
        NodeRecord { owner: "n".into(), url: "https://n".into(), tunnel: None, facts: facts("n", 3) };
    book.hello(record.clone(), 0).unwrap();
    book.put(intent(1), 0).unwrap();
    store.commit(&book.take_changes()).await.unwrap();
    for back in [
        "ALTER TABLE nodes DROP COLUMN tunnel",
        "ALTER TABLE instances DROP COLUMN capture",
        "ALTER TABLE numbering DROP COLUMN mode",
        "ALTER TABLE numbering DROP COLUMN driver",
        "DROP TABLE region_names",
        "DELETE FROM migrations WHERE version > 3",
        "UPDATE instances SET intent = json_remove(intent, '$.spec.ports[0].segment')",
    ] {
        sqlx::query(back).execute(&mut store.connection).await.unwrap();
    }
    drop(store);
    let (mut store, reader) = Store::open(&path, 8).await.unwrap();
    let snapshot = store.load().await.unwrap();
    assert_eq!(snapshot.nodes, [record]);
    assert_eq!(snapshot.rows[0].leases[0].segment, None, "on the flat network");
    assert_eq!(reader.intent(&intent(1).id).await.unwrap(), Some(intent(1)));
}

#[tokio::test]
async fn a_mode_stays_while_there_are_instances() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&directory.path().join("cc.sqlite"), 7).await.unwrap();
    let user = NetworkMode::User { forwarded: vec![22] };
    store.mode_settle(&NetworkMode::Managed, VXLAN).await.unwrap();
    store.mode_settle(&user, VXLAN).await.unwrap();
    let mut book = Book::load(store.load().await.unwrap(), SETTINGS, 0);
    book.put(intent(1), 0).unwrap();
    book.put(intent(2), 0).unwrap();
    book.put(next(&intent(2), Desired::Terminated), 0).unwrap();
    store.commit(&book.take_changes()).await.unwrap();
    let refused = store.mode_settle(&NetworkMode::System, VXLAN).await.unwrap_err().to_string();
    let expected = "network.mode = \"system\": this cluster has 1 instances that were made under \"user\"; terminate them before it \
         is changed, or set it back";
    assert_eq!(refused, expected);
    // Another list is no other mode.
    let refused = store.mode_settle(&user, SegmentDriver::Vlan).await.unwrap_err().to_string();
    assert!(refused.starts_with("network.driver = \"vlan\": this cluster has 1 instances"), "{refused}");
    store.mode_settle(&NetworkMode::User { forwarded: vec![] }, VXLAN).await.unwrap();
    book.put(next(&intent(1), Desired::Terminated), 0).unwrap();
    store.commit(&book.take_changes()).await.unwrap();
    store.mode_settle(&NetworkMode::System, VXLAN).await.unwrap();
    store.mode_settle(&NetworkMode::Managed, SegmentDriver::Vlan).await.unwrap();
}
