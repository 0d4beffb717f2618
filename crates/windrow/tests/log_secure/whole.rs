//! The whole program over TLS and SASL: commands, workers, gateway; and what its probe says while the door is shut.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    bed::{Bed, unique},
    broker::{PASSWORD, broker},
    client::get_until,
    endpoint::{Endpoint, Gives, SECRET},
    process::{Windrow, free_port},
    ways::{properties, scram},
};

/// A configuration with a view that counts, which enters Kafka like this.
fn configuration(folder: &Path, address: &str, topic: &str, pairs: &[(&str, &str)], port: u16) -> String {
    let properties: String = pairs.iter().map(|(name, value)| format!("\"{name}\" = {value:?}\n")).collect();
    let app = topic.replace('.', "-");
    let text = format!(
        "app = {app:?}
[log]
kind = \"kafka\"
bootstrap_servers = {address:?}
[log.properties]
{properties}
[streams.clicks]
topic = {topic:?}
keyed_by = [\"video\"]
[views.counts]
sql = \"SELECT video, count(*) AS n FROM clicks GROUP BY video\"
[listeners.main]
bind = \"127.0.0.1:{port}\"
"
    );
    let path = folder.join("windrow.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_and_server_go_through_the_same_door() {
    let (address, entry) = scram();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let lines: String = entry.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let client = file("client.properties", format!("# as other clients have it\n\n{lines}"));
    let records = (0..30).map(|n| format!("{{\"video\":\"v{}\"}}\n", n % 3)).collect();
    let (records, topic) = (file("clicks.ndjson", records), unique("door"));
    let log = ["--kafka", &address, "--properties", &client];
    let produce = ["produce", "--topic", &topic, "--key", "video", "--file", &records];
    Windrow::run(&[&produce[..], &log[..]].concat(), &[]);
    let output = folder.path().join("made.toml").display().to_string();
    let said = Windrow::run(&[&["init", &topic, "--output", &output][..], &log[..]].concat(), &[]);
    assert!(said.contains("looked at 30 records"), "{said}");
    let port = free_port();
    let pairs: Vec<(&str, &str)> = entry.iter().map(|(name, value)| (&**name, &**value)).collect();
    let config = configuration(folder.path(), &address, &topic, &pairs, port);
    let said = Windrow::run(&["check", "--config", &config], &[]);
    assert!(said.contains(&format!("kafka at {address} by SASL_SSL with SCRAM-SHA-512")), "{said}");
    let mut server = Windrow::start(&["serve", "--config", &config], &[]);
    let counted = |_: u16, body: &str| body.matches("\"n\":10").count() == 3;
    get_until(port, "/api/channels/counts", counted).await;
    get_until(port, "/readyz", |status, _| status == 200).await;
    server.terminate();
    assert!(server.wait().success(), "{}", server.said());
    assert!(!server.said().contains(PASSWORD), "the password is in the log");
}

/// `produce` writes through librdkafka, `init` reads through the fetcher; neither is told whom to trust.
#[test]
fn the_systems_authorities_are_trusted_by_both_halves() {
    let (address, mut entry) = scram();
    entry.remove("ssl.ca.location");
    let folder = tempfile::tempdir().unwrap();
    let [client, records, bundle, output] = ["client.properties", "clicks.ndjson", "bundle.pem", "made.toml"]
        .map(|name| folder.path().join(name));
    let lines: String = entry.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(&client, lines).unwrap();
    fs::write(&records, "{\"video\":\"a\"}\n").unwrap();
    // As on a real system ours is one of many, and not the first.
    let others = rustls_native_certs::load_native_certs().certs;
    let pem = |der: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    };
    let mut system: String = others.iter().map(|other| pem(other)).collect();
    for file in ["other-ca.pem", "ca.pem"] {
        system += &fs::read_to_string(broker().file(file)).unwrap();
    }
    fs::write(&bundle, system).unwrap();
    let variables = [("SSL_CERT_FILE", bundle.display().to_string())];
    let topic = unique("system");
    let text = |path: &Path| path.display().to_string();
    let log = ["--kafka".to_owned(), address, "--properties".to_owned(), text(&client)];
    let produce = ["produce", "--topic", &topic, "--file", &text(&records)].map(str::to_owned);
    Windrow::run(&[&produce[..], &log[..]].concat(), &variables);
    let init = ["init", &topic, "--output", &text(&output)].map(str::to_owned);
    let said = Windrow::run(&[&init[..], &log[..]].concat(), &variables);
    assert!(said.contains("looked at 1 records"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shut_door_is_told_by_readyz_with_the_brokers_reason() {
    let (address, folder, port) = (broker().address("SASL_SSL"), tempfile::tempdir().unwrap(), free_port());
    let ca = broker().file("ca.pem");
    let pairs = [
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", &*ca),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.username", "windrow"),
        ("sasl.password", "not-the-password"),
    ];
    let config = configuration(folder.path(), &address, "shut", &pairs, port);
    let mut server = Windrow::start(&["serve", "--config", &config], &[]);
    let told = |status: u16, body: &str| status == 503 && body.contains("Authentication failed");
    let (_, body) = get_until(port, "/readyz", told).await;
    assert!(body.contains("refuses to let us in with SCRAM-SHA-256"), "{body}");
    server.terminate();
    assert!(server.wait().success(), "{}", server.said());
    assert!(!server.said().contains("not-the-password"), "the password is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_that_opens_is_gone_through_without_a_restart() {
    let endpoint = Endpoint::start(Gives { life_s: 300, token_life_s: 300 }).await;
    endpoint.knows_us(false);
    let ca = broker().file("ca.pem");
    let pairs = [
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", &*ca),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", &*endpoint.url),
        ("sasl.oauthbearer.client.id", "windrow"),
        ("sasl.oauthbearer.client.secret", SECRET),
        ("sasl.oauthbearer.scope", "kafka"),
    ];
    let (plain, port, folder) = (broker().address("PLAINTEXT"), free_port(), tempfile::tempdir().unwrap());
    let topic = Bed::kafka_with(&plain, properties(&[])).await.topic(1).await;
    let config = configuration(folder.path(), &broker().address("SASL_SSL"), &topic, &pairs, port);
    let mut server = Windrow::start(&["serve", "--config", &config], &[]);
    get_until(port, "/readyz", |status, body| status == 503 && body.contains("invalid_client")).await;
    endpoint.knows_us(true);
    get_until(port, "/readyz", |status, _| status == 200).await;
    server.terminate();
    assert!(server.wait().success(), "{}", server.said());
    assert!(!server.said().contains(SECRET), "the secret is in the log");
}
