//! Recovery codes: for the day on which the phone is gone.

use serde_json::json;

use super::model::{CODES_COUNT, Codes};
use super::store::CODES;
use crate::base::{Error, Result, UserId};
use crate::capabilities::identity::door::{CODE_SIGNS, plain_code};
use crate::capabilities::identity::model::Digest;
use crate::engine::clock::Clock;
use crate::engine::store::Read;
use crate::kit::{Change, Ctx};

/// Signs of a code: 80 bits, which nobody guesses, so a fast digest is enough.
const CODE_CHARACTERS: usize = 16;

/// New codes and what is kept of them.
pub(super) fn fresh(ctx: &Ctx<'_>) -> (Vec<String>, Codes) {
    let texts: Vec<String> = (0..CODES_COUNT).map(|_| text(&ctx.site.clock)).collect();
    let digests = texts.iter().map(|text| Some(digest(text))).collect();
    (texts, Codes { made: ctx.now, digests })
}

fn text(clock: &Clock) -> String {
    let mut code = String::new();
    for (n, byte) in clock.random::<CODE_CHARACTERS>().into_iter().enumerate() {
        if n > 0 && n % 4 == 0 {
            code.push('-');
        }
        code.push(char::from(CODE_SIGNS[usize::from(byte & 31)]));
    }
    code
}

fn digest(text: &str) -> Digest {
    Digest::of(&format!("recovery {}", plain_code(text)))
}

/// Uses a code up, in an open change; says how many are left.
pub(in crate::capabilities::identity) fn spend(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: UserId,
    text: &str,
) -> Result<usize> {
    let wrong = || {
        Error::invalid("the recovery code is not right, or was used")
            .hint("each works once; an owner can remove your second factor")
    };
    let given = digest(text);
    let mut codes = change.tx.get(&CODES, &(ctx.tenant, user))?.ok_or_else(wrong)?;
    let place = codes.digests.iter().position(|kept| *kept == Some(given)).ok_or_else(wrong)?;
    codes.digests[place] = None;
    change.tx.put(&CODES, &(ctx.tenant, user), &codes)?;
    let left = codes.left();
    change.tell(
        "identity.recovery_code_used",
        user,
        json!({ "made": codes.made, "place": place, "left": left }),
    );
    Ok(left)
}
