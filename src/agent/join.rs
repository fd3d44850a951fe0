//! From a join code to credentials.

use std::time::Duration;

use super::credentials::{self, Credentials};
use super::{Options, Server, session};
use crate::base::{Error, Kind, Result, Secret, Span};
use crate::engine::clock::Clock;
use crate::engine::crypto::{self, Fingerprint, JoinCode, Pin};
use crate::engine::outbound::mqtt::{self, Quality};
use crate::wire::{JOIN_DOWN, JOIN_UP, JoinAnswer, JoinRequest};

/// User name of a session that joins; its password is the code's secret.
const USER: &str = "join";
/// How long the server may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Joins with the code in `options` and keeps the credentials in its folder. Waits as long as an administrator's
/// approval or the network takes; a refusal is an error.
pub async fn join(options: &Options, clock: &Clock) -> Result<Credentials> {
    let (Some(code), Some(server)) = (&options.join, &options.server) else {
        return Err(Error::invalid("joining takes a code and a server"));
    };
    crypto::private_folder(&options.folder)?;
    let request = credentials::pending(&options.folder)?;
    let boot = super::program::boot(clock);
    let mut failures = 0;
    loop {
        let hello = session::hello(&options.configuration, &boot, clock);
        let message = JoinRequest { request: request.pem.clone(), hello };
        let wait = match ask(code, server, &message, clock).await {
            Ok(JoinAnswer::Joined { tenant, agent, certificate, authority }) => {
                expect_authority(&authority, code)?;
                let key = request.key.clone();
                let joined =
                    Credentials { tenant, agent, server: server.clone(), certificate, authority, key };
                joined.save(&options.folder, clock)?;
                credentials::forget_pending(&options.folder);
                tracing::info!(agent.id = %agent, "joined as `{agent}`");
                return Ok(joined);
            }
            Ok(JoinAnswer::Pending { agent, seconds }) => {
                failures = 0;
                tracing::info!(agent.id = %agent, "an administrator must approve `{agent}`");
                Span::from_seconds(seconds.clamp(1, 300))
            }
            Ok(JoinAnswer::Refused { reason }) => {
                return Err(Error::forbidden(format!("the server refuses: {reason}")));
            }
            Err(e) if matches!(e.kind(), Kind::Unauthenticated | Kind::Forbidden | Kind::Invalid) => {
                return Err(e);
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "joining did not work; trying again");
                super::program::back_off(failures, clock)
            }
        };
        tokio::time::sleep(wait.duration()).await;
    }
}

async fn ask(code: &JoinCode, server: &Server, message: &JoinRequest, clock: &Clock) -> Result<JoinAnswer> {
    let random: String = clock.random::<8>().iter().map(|b| format!("{b:02x}")).collect();
    let options = mqtt::Options {
        tls: Some(crypto::client_config(&Pin::Short(code.authority().to_owned()), None, clock)?),
        user: Some(USER.to_owned()),
        password: Some(Secret::new(code.secret().to_owned())),
        ..mqtt::Options::new(&server.host, server.port, &format!("join-{random}"))
    };
    let (client, mut incoming) = mqtt::connect(&options).await?;
    let exchange = async {
        client.subscribe(&[(JOIN_DOWN, Quality::AtLeastOnce)]).await?;
        client.publish(JOIN_UP, message.json(), Quality::AtLeastOnce).await?;
        while let Some(message) = incoming.next().await {
            let message = message?;
            if message.topic == JOIN_DOWN {
                return JoinAnswer::decode(&message.payload);
            }
        }
        Err(Error::unavailable("the server closed the connection"))
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, exchange)
        .await
        .unwrap_or_else(|_| Err(Error::unavailable("the server does not answer the join request")))?;
    // A goodbye that is not heard does no harm.
    let _ = tokio::time::timeout(Duration::from_secs(2), client.disconnect()).await;
    Ok(answer)
}

/// What the server hands over as its authority must be the one that the code named.
fn expect_authority(pem: &str, code: &JoinCode) -> Result<()> {
    let chain = crypto::pem_to_der(pem)?;
    let der = chain.first().map(Vec::as_slice).unwrap_or_default();
    if Fingerprint::of(der)?.short() == code.authority() {
        return Ok(());
    }
    Err(Error::forbidden("the server hands over another authority than the join code names"))
}
