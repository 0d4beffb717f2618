//! Each way not to be let in, told by its reason, and without a secret.

use windrow::log::{LogError, kafka::KafkaLog};

use crate::{
    broker::{PASSWORD, broker},
    endpoint::{Endpoint, Gives, SECRET},
    eventually::within,
    ways::properties,
};

/// Connects, which must fail with a reason that may pass and holds these words.
async fn refused(listener: &str, pairs: &[(&str, &str)], words: &[&str]) {
    let address = [broker().address(listener)];
    let told = within("a verdict", KafkaLog::connect(&address, &properties(pairs))).await.err();
    let Some(LogError::Retry(why)) = &told else { panic!("{listener} {words:?}: {told:?}") };
    for word in words {
        assert!(why.contains(word), "{word} is missing: {why}");
    }
    assert!(!why.contains(PASSWORD) && !why.contains(SECRET), "a secret is told: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_with_the_brokers_reason_and_not_tried_again_at_once() {
    let ca = broker().file("ca.pem");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for user in ["windrow", "nobody"] {
            let pairs = [
                ("security.protocol", "SASL_SSL"),
                ("ssl.ca.location", &*ca),
                ("sasl.mechanism", mechanism),
                ("sasl.username", user),
                ("sasl.password", "wrong-password"),
            ];
            refused("SASL_SSL", &pairs, &["refuses to let us in with", mechanism, "Authentication failed"])
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_did_not_sign_is_told_as_such() {
    let other = broker().file("other-ca.pem");
    let pairs = [("security.protocol", "SSL"), ("ssl.ca.location", &*other)];
    refused("SSL", &pairs, &["signed by nobody trusted here", "ssl.ca.location"]).await;
    // The system's authorities did not sign it either.
    refused("SSL", &[("security.protocol", "SSL")], &["signed by nobody trusted here"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_host_is_told_with_both_names() {
    let ca = broker().file("ca.pem");
    let pairs = [("security.protocol", "SSL"), ("ssl.ca.location", &*ca)];
    refused("ELSEWHERE", &pairs, &["is for broker.example.org, not for localhost"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_past_its_time_is_told_as_such() {
    let ca = broker().file("ca.pem");
    let lenient = ("ssl.endpoint.identification.algorithm", "none");
    for more in [&[][..], &[lenient][..]] {
        let pairs = [&[("security.protocol", "SSL"), ("ssl.ca.location", &*ca)][..], more].concat();
        refused("EXPIRED", &pairs, &["has expired, at 2021-01-01T00:00:00Z"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_certificate_or_with_a_strangers_is_told_what_is_missing() {
    let broker = broker();
    let (ca, certificate, key) =
        (broker.file("ca.pem"), broker.file("stranger.pem"), broker.file("stranger.key"));
    let pairs = [("security.protocol", "SSL"), ("ssl.ca.location", &*ca)];
    refused("MUTUAL", &pairs, &["ssl.certificate.location"]).await;
    let stranger = [("ssl.certificate.location", &*certificate), ("ssl.key.location", &*key)];
    refused("MUTUAL", &[pairs, stranger].concat(), &["ssl.certificate.location"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protocol_that_the_listener_does_not_speak_is_guessed_at() {
    let ca = broker().file("ca.pem");
    let user = [("sasl.username", "windrow"), ("sasl.password", PASSWORD)];
    let tls = [("security.protocol", "SSL"), ("ssl.ca.location", &*ca)];
    let sasl =
        [&[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")][..], &user[..]].concat();
    refused("PLAINTEXT", &tls, &["PLAINTEXT?"]).await;
    refused("SSL", &[], &["is the listener one for", "security.protocol"]).await;
    refused("SASL_PLAINTEXT", &[], &["does the listener ask for SASL"]).await;
    refused("SASL_SSL", &tls, &["does the listener ask for SASL"]).await;
    refused("PLAINTEXT", &sasl, &["asks for no SASL"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_over_and_a_secret_that_is_wrong_are_told_by_who_refused_them() {
    let over = Endpoint::start(Gives { life_s: 300, token_life_s: -30 }).await;
    let ca = broker().file("ca.pem");
    let pairs = |secret| {
        [
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", &*ca),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.token.endpoint.url", &*over.url),
            ("sasl.oauthbearer.client.id", "windrow"),
            ("sasl.oauthbearer.client.secret", secret),
            ("sasl.oauthbearer.scope", "kafka"),
        ]
    };
    refused("SASL_SSL", &pairs(SECRET), &["does not take the token", "invalid_token"]).await;
    let words = ["no token from http://", "401 Unauthorized", "invalid_client", "another secret"];
    refused("SASL_SSL", &pairs("wrong"), &words).await;
}

#[tokio::test]
async fn files_that_are_missing_or_wrong_are_fatal_and_named_with_their_property() {
    let broker = broker();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let nothing = file("nothing.pem", "no certificate\n");
    let locked = file(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let (ca, client, other) = (broker.file("ca.pem"), broker.file("client.pem"), broker.file("broker.key"));
    let identity =
        |key| [("ssl.ca.location", &*ca), ("ssl.certificate.location", &*client), ("ssl.key.location", key)];
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("ssl.ca.location", "/no/such/file")], "ssl.ca.location: /no/such/file cannot be read"),
        (&[("ssl.ca.location", &nothing)], "holds no certificate in PEM"),
        (&identity(&locked), "encrypted keys are not read"),
        (&identity(&ca), "holds no private key in PEM"),
        (&identity(&other), "ssl.certificate.location and ssl.key.location"),
        (&[("ssl.crl.location", &ca)], "`ssl.crl.location` is not supported"),
    ];
    for (pairs, why) in cases {
        let pairs = [&[("security.protocol", "SSL")], pairs].concat();
        let told = KafkaLog::connect(&[broker.address("SSL")], &properties(&pairs)).await.err();
        assert!(matches!(&told, Some(LogError::Fatal(told)) if told.contains(why)), "{why}: {told:?}");
    }
}
