//! Reading: the right bytes or an error, whatever the network does.

use super::engine::{Engine, Fault, engine, hasty};
use crate::store::keeper::conformance::{Place, get, payload, put};
use crate::store::keeper::format::FormatError;
use crate::store::keeper::pace::Pace;
use crate::store::keeper::read::{BlobReader, ReadError, verify};
use crate::store::keeper::{BlobId, is_away};

const BYTES: u64 = 1_500_000;
/// What a reader of the whole payload asks for after the end of the blob.
const PAYLOAD: &str = "bytes=0-";
const TAIL: &str = "bytes=-";

async fn with_blob() -> Engine {
    with_blob_of(engine().await).await
}

async fn with_blob_of(engine: Engine) -> Engine {
    put(&*engine.keeper(), 1, &payload(BYTES), None).await;
    engine
}

async fn read(engine: &Engine) -> Result<Vec<u8>, ReadError> {
    get(&*engine.keeper(), 1, BYTES, 0..BYTES, None).await
}

#[tokio::test]
async fn a_connection_that_breaks_only_delays() {
    for fault in [
        Fault::Refused(500, "InternalError"),
        Fault::Refused(503, "SlowDown"),
        Fault::Cut(0),
        Fault::Cut(300_000),
        Fault::Stuck(300_000),
        Fault::Unranged,
    ] {
        let engine = match fault {
            Fault::Stuck(_) => with_blob_of(hasty().await).await,
            _ => with_blob().await,
        };
        engine.faults.add("GET", PAYLOAD, 2, fault);
        assert!(read(&engine).await.unwrap() == payload(BYTES), "{fault:?}");
        // So does one that fails at the very first request.
        engine.faults.clear();
        engine.faults.add("GET", "bytes=", 1, Fault::Refused(500, ""));
        assert!(read(&engine).await.unwrap() == payload(BYTES), "{fault:?}");
        assert_eq!(engine.faults.left(), 0);
    }
}

#[tokio::test]
async fn a_reader_that_gets_a_piece_each_time_comes_to_the_end() {
    let engine = with_blob_of(hasty().await).await;
    let pieces = ["bytes=0-", "bytes=262144-", "bytes=524288-", "bytes=786432-", "bytes=1048576-"];
    for about in pieces {
        engine.faults.add("GET", about, 1, Fault::Stuck(262_144 + 10));
    }
    assert!(read(&engine).await.unwrap() == payload(BYTES));
    assert_eq!(engine.faults.left(), 0);
}

#[tokio::test]
async fn what_never_comes_whole_is_an_engine_that_is_away_and_no_rot() {
    for (about, fault) in [
        (PAYLOAD, Fault::Cut(1000)),
        (PAYLOAD, Fault::Refused(500, "")),
        (PAYLOAD, Fault::Unranged),
        (TAIL, Fault::Cut(1000)),
        (TAIL, Fault::Refused(503, "SlowDown")),
        (TAIL, Fault::Refused(404, "NoSuchBucket")),
        (TAIL, Fault::Refused(403, "AccessDenied")),
        (TAIL, Fault::Document("<html>a portal</html>")),
    ] {
        let engine = with_blob().await;
        engine.faults.add("GET", about, 1000, fault);
        match (read(&engine).await, fault) {
            (Err(ReadError::Io(error)), _) => assert!(is_away(&error), "{fault:?}: {error}"),
            // A whole answer that is another thing is no blob; the store looks at it again later.
            (Err(ReadError::Format(_)), Fault::Document(_)) => {}
            (other, _) => panic!("{fault:?}: {:?}", other.map(|bytes| bytes.len())),
        }
        engine.faults.clear();
        assert!(read(&engine).await.unwrap() == payload(BYTES), "{fault:?}");
    }
}

#[tokio::test]
async fn a_missing_object_is_a_missing_blob() {
    let engine = with_blob().await;
    engine.faults.add("GET", TAIL, 1, Fault::Refused(404, "NoSuchKey"));
    let missing = read(&engine).await;
    assert!(matches!(missing, Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound));
}

#[tokio::test]
async fn a_wrong_byte_is_asked_for_again_and_never_handed_out() {
    for (about, at) in [(PAYLOAD, 70_000), (PAYLOAD, 700_000), (TAIL, 65_536 - 128 - 10)] {
        let engine = with_blob().await;
        engine.faults.add("GET", about, 1, Fault::Flipped(at));
        assert!(read(&engine).await.unwrap() == payload(BYTES), "{about} {at}");
        assert_eq!(engine.faults.left(), 0);
    }
    let engine = with_blob().await;
    engine.faults.add("GET", "bytes=", 1, Fault::Refused(500, ""));
    let mut there = engine.raw(BlobId(1)).await.unwrap();
    there[700_000] ^= 1;
    engine.replace(BlobId(1), there).await;
    let find = |_| None;
    let keeper = engine.keeper();
    let mut reader = BlobReader::open(&*keeper, BlobId(1), BYTES, 0..BYTES, &find).await.unwrap();
    let mut found = Vec::new();
    let error = loop {
        match reader.next().await {
            Ok(piece) => found.extend_from_slice(&piece.expect("the error comes first")),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::Format(FormatError::Block(10))), "{error}");
    assert!(found == payload(BYTES)[..found.len()] && found.len() == 2 * 262_144);
    let verified = verify(&*keeper, BlobId(1), &mut Pace::unlimited()).await;
    assert!(matches!(verified, Err(ReadError::Format(FormatError::Block(10)))));
}

#[tokio::test]
async fn a_copy_out_that_breaks_off_leaves_no_file() {
    let engine = with_blob().await;
    let directory = tempfile::tempdir().unwrap();
    engine.faults.add("GET", PAYLOAD, 1000, Fault::Cut(300_000));
    engine.faults.add("GET", "bytes=262144-", 1000, Fault::Cut(0));
    let away = engine.keeper().copy_out(BlobId(1), directory.path()).await.unwrap_err();
    assert!(is_away(&away), "{away}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
