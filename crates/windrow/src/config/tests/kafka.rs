//! `[log]` on Kafka: its own rules, how a cluster is entered, and that secrets stay where they are.

use super::*;

#[test]
fn kafka_has_its_own_rules_and_secrets_stay_secret() {
    check(
        r#"
[log]
kind = "kafka"
directory = "x"
bootstrap_servers = "a:1, kafka://b, :9, http://u:p@h"
commit_interval = "10s"
[log.properties]
group.id = "x"
sasl.password = "${SECRET}"
security.protocol = "${SECRET}"
[streams.clicks]
topic = "${SECRET} !"
lateness = "${SECRET}"
"#,
        expect![[r#"
            w.toml:1:1: `app` is needed with kind = "kafka"
              hint: write app = "clicks" in the first line: consumer group and prefix of internal topics
            w.toml:5:21: `bootstrap_servers`: must be host:port, or several with commas between
            w.toml:5:21: `bootstrap_servers`: only kafka:// may stand before host:port; `security.protocol` chooses the protocol
            w.toml:6:19: `commit_interval` must be from 5ms to 5s, not "10s"
            w.toml:8:12: property `group.id` cannot be set
              hint: Windrow sets it itself, by `app`, `bootstrap_servers`, `delivery` and `instance_id`
            w.toml:10:21: `security.protocol` must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
            w.toml:12:9: `topic` must be 1 to 249 of a–z, A–Z, 0–9, dot, _ and -
            w.toml:13:12: `lateness` must be a duration such as "250ms", "5m" or "30d", not "${SECRET}"
        "#]],
    );
    let config = good(
        "app = \"a\"\n[streams.s]\n[log]\nkind = \"kafka\"\nproperties = { \"security.protocol\" = \"SSL\", \"ssl.ca.pem\" = \"${SECRET}\", \"linger.ms\" = 5 }\n",
    );
    let shown = format!("{config:?}");
    assert!(shown.contains("\"ssl.ca.pem\": \"***\"") && shown.contains("\"linger.ms\": \"5\""), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn mistakes_about_entering_kafka_have_their_line_and_a_way_out() {
    check(
        r#"
app = "a"
[log]
kind = "kafka"
[log.properties]
security.protocol = "SASL_SSL"
sasl.mechanisms = "PLAIN"
sasl.username = "ann"
ssl.keystore.location = "store.p12"
lingr.ms = 5
linger.ms = "soon"
acks = "all"
[streams.clicks]
"#,
        expect![[r#"
            w.toml:7:19: `sasl.mechanism` PLAIN needs `sasl.password`
            w.toml:9:25: `ssl.keystore.location` is not supported
              hint: keystores are not read: give PEM files by `ssl.certificate.location` and `ssl.key.location`; `openssl pkcs12 -in store.p12 -nodes` makes them
            w.toml:10:12: property `lingr.ms`: librdkafka has no such property
            w.toml:11:13: property `linger.ms`: librdkafka does not take this value
            w.toml:12:8: property `acks` cannot be set
              hint: Windrow sets it itself, by `app`, `bootstrap_servers`, `delivery` and `instance_id`
        "#]],
    );
    check(
        "app = \"a\"\n[log]\nkind = \"kafka\"\nproperties = { \"ssl.ca.location\" = \"ca.pem\" }\n[streams.clicks]\n",
        expect![[r#"
            w.toml:4:36: `ssl.ca.location` needs security.protocol SSL or SASL_SSL, not PLAINTEXT
        "#]],
    );
}
