//! Writing: what is acknowledged is there, what is not leaves nothing.

use super::engine::{BUCKET, Engine, Fault, HASTE, PREFIX, engine, hasty, unclaimed};
use crate::store::keeper::conformance::{Place, eventually, get, payload, put, try_put};
use crate::store::keeper::write::BlobWriter;
use crate::store::keeper::{BlobId, Keeper, StoreFacts, is_away};
use std::io::ErrorKind;
use std::time::Instant;

/// Three parts.
const LARGE: u64 = 17 << 20;
const SMALL: u64 = 100_000;

async fn is_whole(engine: &Engine, id: u64, bytes: u64) {
    assert!(get(&*engine.keeper(), id, bytes, 0..bytes, None).await.unwrap() == payload(bytes));
}

/// Nothing but the mark is there, after as many rounds of collecting as it takes.
async fn is_empty(engine: &Engine) {
    let keeper = engine.keeper();
    eventually("the engine is empty", async || {
        keeper.collect().await.unwrap();
        engine.uploads().await == 0 && engine.keys().await == [format!("{PREFIX}karri-walrus-store")]
    })
    .await;
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for fault in [
        Fault::Refused(500, "InternalError"),
        Fault::Refused(503, "SlowDown"),
        Fault::Refused(400, "RequestTimeout"),
        Fault::Lost,
    ] {
        let engine = engine().await;
        engine.faults.add("PUT", "", 2, fault);
        put(&*engine.keeper(), 1, &payload(SMALL), None).await;
        // A begin, a part in the middle, and the end.
        for (method, about) in [("POST", "?uploads"), ("PUT", "partNumber=2"), ("POST", "uploadId")] {
            engine.faults.add(method, about, 2, fault);
        }
        put(&*engine.keeper(), 2, &payload(LARGE), None).await;
        engine.faults.add("DELETE", "", 2, fault);
        engine.keeper().remove(BlobId(1)).await.unwrap();
        assert_eq!(engine.faults.left(), 0, "{fault:?}");
        is_whole(&engine, 2, LARGE).await;
        engine.keeper().remove(BlobId(2)).await.unwrap();
        // A begin whose answer was lost has begun an upload that nobody knows of.
        is_empty(&engine).await;
    }
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_each_time_is_found_to_have_come() {
    for fault in [Fault::Lost, Fault::Unanswered] {
        let engine = hasty().await;
        let body = "<Error><Code>NoSuchUpload</Code></Error>";
        engine.faults.add("POST", "uploadId", 1, fault);
        engine.faults.add("POST", "uploadId", 1, Fault::Document(body));
        put(&*engine.keeper(), 1, &payload(LARGE), None).await;
        assert_eq!(engine.faults.left(), 0);
        is_whole(&engine, 1, LARGE).await;
    }
}

#[tokio::test]
async fn an_end_of_200_that_is_an_error_or_nothing_is_no_end() {
    for body in ["<Error><Code>InternalError</Code></Error>", "", "<html/>"] {
        let engine = engine().await;
        engine.faults.add("POST", "uploadId", 100, Fault::Document(body));
        let refused = try_put(&*engine.keeper(), 1, &payload(LARGE), None).await.unwrap_err();
        assert!(is_away(&refused), "{refused}");
        engine.faults.clear();
        is_empty(&engine).await;
        engine.faults.add("POST", "uploadId", 1, Fault::Document(body));
        put(&*engine.keeper(), 2, &payload(LARGE), None).await;
        is_whole(&engine, 2, LARGE).await;
    }
}

#[tokio::test]
async fn what_the_engine_does_not_take_is_not_acknowledged_and_leaves_nothing() {
    let cases = [
        (SMALL, "PUT", "", Fault::Refused(503, "ServiceUnavailable")),
        (SMALL, "PUT", "", Fault::Unanswered),
        (SMALL, "PUT", "", Fault::Lost),
        (LARGE, "POST", "?uploads", Fault::Refused(500, "")),
        (LARGE, "PUT", "partNumber=1", Fault::Unanswered),
        (LARGE, "PUT", "partNumber=3", Fault::Refused(503, "SlowDown")),
        (LARGE, "POST", "uploadId", Fault::Refused(500, "")),
        (LARGE, "PUT", "partNumber=2", Fault::Refused(403, "AccessDenied")),
    ];
    for (bytes, method, about, fault) in cases {
        let engine = if matches!(fault, Fault::Unanswered) { hasty().await } else { engine().await };
        engine.faults.add(method, about, 1000, fault);
        let refused = try_put(&*engine.keeper(), 1, &payload(bytes), None).await.unwrap_err();
        assert!(is_away(&refused), "{fault:?}: {refused}");
        engine.faults.clear();
        is_empty(&engine).await;
        put(&*engine.keeper(), 2, &payload(bytes), None).await;
        is_whole(&engine, 2, bytes).await;
    }
}

#[tokio::test]
async fn a_full_engine_is_full() {
    for (status, code) in [(403, "QuotaExceeded"), (507, "InsufficientStorage")] {
        let engine = engine().await;
        engine.faults.add("PUT", "", 1, Fault::Refused(status, code));
        let full = try_put(&*engine.keeper(), 1, &payload(SMALL), None).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::QuotaExceeded, "{full}");
        assert_eq!(engine.faults.left(), 0, "not asked a second time");
    }
}

#[tokio::test]
async fn while_it_is_away_callers_hear_of_it_soon_and_it_is_back_at_once() {
    let engine = hasty().await;
    engine.faults.add("PUT", "", 1000, Fault::Unanswered);
    // What is left of a failed write is taken away behind it: an answer to that would say that the engine is back.
    engine.faults.add("DELETE", "", 1000, Fault::Refused(503, "SlowDown"));
    let began = Instant::now();
    try_put(&*engine.keeper(), 1, &payload(SMALL), None).await.unwrap_err();
    assert!(began.elapsed() >= HASTE);
    let before = engine.faults.left_of("PUT");
    try_put(&*engine.keeper(), 1, &payload(SMALL), None).await.unwrap_err();
    assert_eq!(before - engine.faults.left_of("PUT"), 1, "one try while it is known to be away");
    engine.faults.clear();
    put(&*engine.keeper(), 2, &payload(SMALL), None).await;
    engine.faults.add("PUT", "", 3, Fault::Refused(503, "SlowDown"));
    put(&*engine.keeper(), 3, &payload(SMALL), None).await;
}

#[tokio::test]
async fn uploads_of_a_process_that_was_killed_are_aborted_and_those_under_way_are_not() {
    let engine = engine().await;
    let mut killed = BlobWriter::create(&*engine.keeper(), BlobId(1), None, None).await.unwrap();
    killed.write(&payload(LARGE)).await.unwrap();
    std::mem::forget(killed);
    assert_eq!(engine.uploads().await, 1);
    engine.keeper().collect().await.unwrap();
    assert_eq!(engine.uploads().await, 1, "to the process that writes it, it is under way");

    let again = engine.again();
    again.begin(StoreFacts { mark: 7, has_blobs: false }).await.unwrap();
    let mut under_way = BlobWriter::create(&again, BlobId(2), None, None).await.unwrap();
    under_way.write(&payload(LARGE)).await.unwrap();
    assert_eq!(engine.uploads().await, 2);
    again.collect().await.unwrap();
    assert_eq!(engine.uploads().await, 1);
    under_way.finish().await.unwrap();
    is_whole(&engine, 2, LARGE).await;
    assert_eq!(engine.keys().await.len(), 2);
}

#[tokio::test]
async fn names_of_a_start_are_never_those_of_the_start_before() {
    let engine = engine().await;
    let keeper = engine.keeper();
    let first = keeper.first_name(0);
    assert!(first > 0 && keeper.first_name(first) > first);
    assert!(keeper.first_name(first + 1000) >= first + (1 << 30), "whatever was on the wire is far away");
}

#[tokio::test]
async fn what_could_not_be_removed_is_removed_later() {
    let engine = engine().await;
    let keeper = engine.keeper();
    put(&*keeper, 1, &payload(SMALL), None).await;
    engine.faults.add("DELETE", "", 1000, Fault::Refused(503, "SlowDown"));
    assert!(is_away(&keeper.remove(BlobId(1)).await.unwrap_err()));
    assert!(is_away(&keeper.collect().await.unwrap_err()));
    assert_eq!(engine.keys().await.len(), 2);
    engine.faults.clear();
    is_empty(&engine).await;
}

#[tokio::test]
async fn a_copy_that_fails_leaves_nothing() {
    let engine = engine().await;
    let keeper = engine.keeper();
    put(&*keeper, 1, &payload(SMALL), None).await;
    put(&*keeper, 2, &payload(LARGE), None).await;
    for (from, about) in [(1, "0000000000000009"), (2, "partNumber=2")] {
        engine.faults.add("PUT", about, 1000, Fault::Document("<Error><Code>InternalError</Code></Error>"));
        assert!(is_away(&keeper.link(BlobId(from), BlobId(9)).await.unwrap_err()));
        engine.faults.clear();
        eventually("the copy is gone", async || {
            engine.uploads().await == 0 && engine.keys().await.len() == 3
        })
        .await;
    }
}

#[tokio::test]
async fn two_stores_do_not_share_a_prefix() {
    let engine = engine().await;
    put(&*engine.keeper(), 1, &payload(SMALL), None).await;
    let facts = StoreFacts { mark: 7, has_blobs: true };
    engine.again().begin(facts).await.unwrap();
    let other = engine.again();
    let refused = other.begin(StoreFacts { mark: 8, ..facts }).await.unwrap_err();
    let words = refused.to_string();
    assert!(
        words.starts_with(&format!("store.bucket = \"{BUCKET}\"")) && words.contains("another store"),
        "{words}"
    );
    for refused in [
        try_put(&other, 2, &payload(SMALL), None).await.map(drop),
        other.remove(BlobId(1)).await,
        other.collect().await,
        other.probe().await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Other);
    }
    is_whole(&engine, 1, SMALL).await;
    let elsewhere = engine.keeper_with(|options| options.prefix = "c/".into());
    elsewhere.begin(StoreFacts { mark: 8, has_blobs: false }).await.unwrap();
    put(&elsewhere, 1, &payload(10), None).await;
    is_whole(&engine, 1, SMALL).await;
    assert_eq!(engine.keeper().list(None, 10).await.unwrap(), [BlobId(1)]);
}

#[tokio::test]
async fn a_store_and_an_engine_that_do_not_belong_together_are_told_before_anything_is_lost() {
    let engine = unclaimed().await;
    let lost = engine.again().begin(StoreFacts { mark: 7, has_blobs: true }).await.unwrap_err();
    assert!(lost.to_string().contains("copy them first"), "{lost}");
    // As any program would copy it, without a mark.
    engine.put_object(&Engine::key(1), b"a blob").await;
    let fresh = engine.again().begin(StoreFacts { mark: 7, has_blobs: false }).await.unwrap_err();
    assert!(fresh.to_string().contains("this one knows none"), "{fresh}");
    assert_eq!(engine.keys().await, [Engine::key(1)], "nothing was put there");
    engine.again().begin(StoreFacts { mark: 7, has_blobs: true }).await.unwrap();
    assert_eq!(engine.keys().await.len(), 2);
}

#[tokio::test]
async fn an_engine_that_is_away_at_the_start_is_claimed_when_it_is_there() {
    let engine = unclaimed().await;
    engine.faults.add("GET", "", 1000, Fault::Refused(503, "ServiceUnavailable"));
    let keeper = engine.again();
    keeper.begin(StoreFacts { mark: 7, has_blobs: false }).await.unwrap();
    assert!(is_away(&keeper.probe().await.unwrap_err()));
    assert!(is_away(&try_put(&keeper, 1, &payload(SMALL), None).await.unwrap_err()));
    engine.faults.clear();
    keeper.probe().await.unwrap();
    put(&keeper, 1, &payload(SMALL), None).await;
    assert_eq!(engine.keys().await.len(), 2);
}

#[tokio::test]
async fn a_wrong_key_a_wrong_bucket_and_nobody_there_are_no_lost_blobs() {
    let engine = engine().await;
    put(&*engine.keeper(), 1, &payload(SMALL), None).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for keeper in [
        engine.keeper_with(|options| options.keys.secret_access_key = "wrong".into()),
        engine.keeper_with(|options| options.bucket = "absent".into()),
        engine.keeper_with(|options| options.endpoint = format!("http://{nobody}")),
    ] {
        assert!(is_away(&keeper.open(BlobId(1)).await.map(drop).unwrap_err()));
        assert!(is_away(&keeper.list(None, 1).await.unwrap_err()));
        assert!(is_away(&try_put(&keeper, 2, &payload(LARGE), None).await.unwrap_err()));
        assert!(is_away(&keeper.link(BlobId(1), BlobId(3)).await.unwrap_err()));
        keeper.begin(StoreFacts { mark: 7, has_blobs: true }).await.unwrap();
        assert!(is_away(&keeper.probe().await.unwrap_err()));
    }
}
