//! Lists that the kernel tells.

use futures_util::{TryStream, TryStreamExt};
use rtnetlink::Error;
use std::time::Duration;

const BUSY: i32 = -16;
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// Everything that `ask` is answered. The kernel tells the end of a list a moment before it takes the next question
/// on the same socket: who asks within that moment hears that it is busy.
pub async fn dump<T, S>(ask: impl Fn() -> S) -> Result<Vec<T>, Error>
where
    S: TryStream<Ok = T, Error = Error>,
{
    let mut tried = 1;
    loop {
        match ask().try_collect().await {
            Err(Error::NetlinkError(told)) if told.raw_code() == BUSY && tried < TRIES => {
                tried += 1;
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use rtnetlink::packet_core::ErrorMessage;
    use std::cell::Cell;

    fn told(code: i32) -> Error {
        let mut message = ErrorMessage::default();
        message.code = std::num::NonZeroI32::new(code);
        Error::NetlinkError(message)
    }

    #[tokio::test]
    async fn who_asks_too_soon_asks_again_and_other_errors_are_told() {
        let asked = Cell::new(0);
        let ask = |until: u32, code: i32| {
            asked.set(asked.get() + 1);
            let answer = if asked.get() < until { vec![Ok(1), Err(told(code))] } else { vec![Ok(1), Ok(2)] };
            stream::iter(answer)
        };
        assert_eq!(dump(|| ask(3, BUSY)).await.unwrap(), [1, 2], "nothing of the failed answers");
        asked.set(0);
        assert!(dump(|| ask(3, -1)).await.is_err());
        assert_eq!(asked.get(), 1);
        asked.set(0);
        assert!(dump(|| ask(u32::MAX, BUSY)).await.is_err());
        assert_eq!(asked.get(), TRIES);
    }
}
