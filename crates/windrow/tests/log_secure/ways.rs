//! Each way in, and what a log has to do there: make a topic, write in a transaction that also moves a group's offset, read.

use std::collections::BTreeMap;

use windrow::log::Tp;

use crate::{
    bed::{Bed, numbered, values},
    broker::{PASSWORD, broker},
    endpoint::{Endpoint, Gives, SECRET},
};

/// Properties out of pairs.
pub(crate) fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// SASL_SSL with SCRAM: where, and how.
pub(crate) fn scram() -> (String, BTreeMap<String, String>) {
    let broker = broker();
    let properties = properties(&[
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", &broker.file("ca.pem")),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "windrow"),
        ("sasl.password", PASSWORD),
    ]);
    (broker.address("SASL_SSL"), properties)
}

/// Fetcher, writer, member and administration, each over its own connections.
async fn works(listener: &str, pairs: &[(&str, &str)]) {
    let bed = Bed::kafka_with(&broker().address(listener), properties(pairs)).await;
    crate::transactions::output_and_offsets_commit_together(bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext() {
    works("PLAINTEXT", &[("security.protocol", "plaintext")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_an_authority_from_a_file_a_folder_and_a_text() {
    let ca = broker().file("ca.pem");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(&ca, folder.path().join("any-name.crt")).unwrap();
    let folder = folder.path().display().to_string();
    let text = std::fs::read_to_string(&ca).unwrap();
    for (name, value) in [("ssl.ca.location", &ca), ("ssl.ca.location", &folder), ("ssl.ca.pem", &text)] {
        works("SSL", &[("security.protocol", "SSL"), (name, value)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_an_address_that_is_a_number() {
    let address = broker().address("SSL").replace("localhost", "127.0.0.1");
    let ca = broker().file("ca.pem");
    let properties = properties(&[("security.protocol", "SSL"), ("ssl.ca.location", &ca)]);
    let bed = Bed::kafka_with(&address, properties).await;
    crate::transactions::output_and_offsets_commit_together(bed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_without_a_look_at_the_name_or_at_anything() {
    let ca = broker().file("ca.pem");
    let ssl = ("security.protocol", "SSL");
    let lenient = ("ssl.endpoint.identification.algorithm", "none");
    works("ELSEWHERE", &[ssl, ("ssl.ca.location", &ca), lenient]).await;
    works("EXPIRED", &[ssl, ("enable.ssl.certificate.verification", "false")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_client_certificate_from_files_and_from_texts() {
    let broker = broker();
    let read = |name: &str| std::fs::read_to_string(broker.file(name)).unwrap();
    let (ca, certificate, key) =
        (broker.file("ca.pem"), broker.file("client.pem"), broker.file("client.key"));
    let begin = [("security.protocol", "SSL"), ("ssl.ca.location", &*ca)];
    let files = [("ssl.certificate.location", &*certificate), ("ssl.key.location", &*key)];
    works("MUTUAL", &[begin, files].concat()).await;
    let (certificate, key) = (read("client.pem"), read("client.key"));
    let texts = [("ssl.certificate.pem", &*certificate), ("ssl.key.pem", &*key)];
    works("MUTUAL", &[begin, texts].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_in_the_clear_and_proved_with_both_hashes() {
    let ca = broker().file("ca.pem");
    let user = [("sasl.username", "windrow"), ("sasl.password", PASSWORD)];
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let over_tls =
            [("security.protocol", "SASL_SSL"), ("ssl.ca.location", &*ca), ("sasl.mechanisms", mechanism)];
        works("SASL_SSL", &[&over_tls[..], &user[..]].concat()).await;
        let in_the_clear = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", mechanism)];
        works("SASL_PLAINTEXT", &[&in_the_clear[..], &user[..]].concat()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_fetched_with_client_credentials() {
    let endpoint = Endpoint::start(Gives { life_s: 300, token_life_s: 300 }).await;
    let ca = broker().file("ca.pem");
    works(
        "SASL_SSL",
        &[
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", &ca),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.token.endpoint.url", &endpoint.url),
            ("sasl.oauthbearer.client.id", "windrow"),
            ("sasl.oauthbearer.client.secret", SECRET),
            ("sasl.oauthbearer.scope", "kafka"),
            ("sasl.oauthbearer.extensions", "logicalCluster=lkc-1,identityPoolId=pool-2"),
        ],
    )
    .await;
    assert_eq!(endpoint.given(), 1, "one token is enough for all connections of both sides");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_compression_is_written_and_read_under_either_name_of_its_property() {
    for name in ["compression.type", "compression.codec"] {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let (address, mut properties) = scram();
            properties.insert(name.into(), codec.into());
            let bed = Bed::kafka_with(&address, properties).await;
            let tp = Tp::new(bed.topic(1).await, 0);
            bed.write(numbered(&tp, 0..200)).await;
            let wanted: Vec<String> = (0..200).map(|n| n.to_string()).collect();
            assert_eq!(values(&bed.read(&[tp], 200).await), wanted, "{name} {codec}");
        }
    }
}
