//! Signed posts: Port accepts ours and drops all others.

use sandbox::expected::Scope;
use sandbox::settings::{Security, Settings};

use crate::harness::{Program, assert_equal, envelopes, settled, start};

const SECRET: &str = "wbhk~Secret-That_Must-Not-Show";

fn secured(header: &str, prefix: &str) -> Settings {
    let mut settings = settled();
    settings.port.security = Some(Security { secret: SECRET.into(), header: header.into(), prefix: prefix.into() });
    settings
}

#[tokio::test]
async fn port_takes_what_is_signed_whatever_the_payload() {
    for payload in ["single", "batch"] {
        let mut settings = secured("x-port-signature", "sha256=");
        if payload == "batch" {
            sandbox::settings::MAPPING_BATCH.clone_into(&mut settings.port.mapping);
        }
        let sandbox = start(settings).await;
        let program = Program::full(&sandbox).env("PORT_WEBHOOK_SECRET", SECRET).env("PORT_WEBHOOK_PAYLOAD", payload);
        let run = program.run().await.exits(0).does_not_say(&[SECRET, "sha256="]);
        assert_equal(&sandbox, &Scope::default(), &run).await;
        assert_eq!(sandbox.port().audit(), [""; 0]);
    }
}

#[tokio::test]
async fn header_and_prefix_are_as_configured() {
    let sandbox = start(secured("x-hub-signature-256", "v1=")).await;
    let program = Program::full(&sandbox)
        .env("PORT_WEBHOOK_SECRET", SECRET)
        .env("PORT_WEBHOOK_SIGNATURE_HEADER", "X-Hub-Signature-256")
        .args(["--port-webhook-signature-prefix", "v1="]);
    let run = program.run().await.exits(0);
    assert_equal(&sandbox, &Scope::default(), &run).await;
}

#[tokio::test]
async fn what_is_unsigned_or_signed_with_another_secret_comes_to_nothing() {
    let sandbox = start(secured("x-port-signature", "sha256=")).await;
    // Port still answers 202, so the sender cannot know.
    Program::full(&sandbox).run().await.exits(0);
    Program::full(&sandbox).env("PORT_WEBHOOK_SECRET", "another").run().await.exits(0);
    sandbox.port().settle().await;
    assert!(sandbox.port().with_catalog(|catalog| catalog.entities.is_empty()));
    assert!(sandbox.port().audit().iter().all(|reason| reason == "signature is missing or wrong"));
    assert!(!envelopes(&sandbox).await.is_empty());
}

#[tokio::test]
async fn a_secret_in_an_argument_is_no_argument() {
    let sandbox = start(settled()).await;
    let run = Program::full(&sandbox).args(["--port-webhook-secret", SECRET]).run().await;
    run.exits(2).does_not_say(&[SECRET]);
}
