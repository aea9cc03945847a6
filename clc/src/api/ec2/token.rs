//! Client tokens: what makes the second telling of a request no second request.

use crate::api::cx::Cx;
use crate::app::image::task::Token;
use karri_proto::aws::Action;
use karri_proto::fault::Fault;

const CLIENT_TOKEN_CHARS_MAX: usize = 64;

/// None also for a request that is only tried: it has no earlier telling.
pub fn client_token<A: Action>(request: &A) -> Result<Option<String>, Fault> {
    let token = request.client_token().filter(|token| !token.is_empty());
    let Some(token) = token else { return Ok(None) };
    let printable = token.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if token.len() > CLIENT_TOKEN_CHARS_MAX || !printable {
        let sentence = format!(
            "The client token must have at most {CLIENT_TOKEN_CHARS_MAX} ASCII characters, none of them control \
             characters"
        );
        return Err(Fault::invalid_parameter(sentence));
    }
    Ok(Some(token.to_owned()).filter(|_| request.dry_run() != Some(true)))
}

/// The same with what it is bound to.
pub fn token<A: Action>(cx: &Cx, request: &A) -> Result<Token, Fault> {
    Ok(Token { client_token: client_token(request)?, request_digest: hex::encode(cx.request_digest()) })
}
