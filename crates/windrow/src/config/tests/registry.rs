//! `[registry]`: what is wrong with one, and that its secrets stay where they are.

use super::*;

#[test]
fn mistakes_of_a_registry_are_told_without_its_secrets() {
    check(
        r#"
[registry]
url = ["localhost:8081", "https://", "http://me:${SECRET}@host", "ftp://x"]
auth = "${SECRET}"
token = "${SECRET}"
timeout = "1ms"
tls = { ca = "none.pem", cert = "Cargo.toml" }
[streams.a]
"#,
        expect![[r#"
            w.toml:3:8: `url` must begin with http:// or https:// and name a host
            w.toml:3:26: `url` must begin with http:// or https:// and name a host
            w.toml:3:38: `url` must not hold a name or a password
              hint: write auth = "key:secret" beside it: addresses are logged
            w.toml:3:66: `url` must begin with http:// or https:// and name a host
            w.toml:5:9: `token` and `auth` exclude each other
            w.toml:6:11: `timeout` must be from 100ms to 2m, not "1ms"
            w.toml:7:14: ca: "none.pem" cannot be read: No such file or directory (os error 2)
              hint: names of files begin at the folder of the configuration
            w.toml:7:33: cert: "Cargo.toml" holds no certificate in PEM
            w.toml:7:33: `cert` needs `key`
        "#]],
    );
    check(
        "[registry]\nauth = \"${SECRET}\"\n[streams.a]",
        expect![[r#"
        w.toml:1:1: [registry] lacks `url`
          hint: write url = "http://localhost:8081"
        w.toml:2:8: `auth` must be a key and its secret with a colon between
    "#]],
    );
}

#[test]
fn a_format_that_needs_a_registry_says_so_and_one_that_does_not_is_fine_without() {
    check(
        r#"
[streams.a]
format = "avro-registry"
[streams.b]
key_format = "avro-registry"
[streams.c]
format = "json-registry"
key_format = "json-registry"
"#,
        expect![[r#"
            w.toml:3:10: `format` = "avro-registry" needs [registry]
              hint: write a table [registry] with url = "http://localhost:8081"
            w.toml:5:14: `key_format` = "avro-registry" needs [registry]
              hint: write a table [registry] with url = "http://localhost:8081"
        "#]],
    );
}

#[test]
fn a_registry_has_addresses_in_turn_and_never_prints_who_asks() {
    let registry = |text: &str| {
        good(&format!("[registry]\n{text}\n[streams.a]\nformat = \"avro-registry\"")).registry.unwrap()
    };
    let basic = registry("url = \"http://a:8081/, https://b/registry\"\nauth = \"key:${SECRET}:x\"");
    assert_eq!(basic.urls, ["http://a:8081", "https://b/registry"]);
    assert_eq!(basic.auth, RegistryAuth::Basic { key: "key".into(), secret: "hunter2:x".into() });
    let bearer = registry("url = [\"http://a\"]\nauth = \"${EMPTY}\"\ntoken = \"${SECRET}\"");
    assert_eq!(bearer.auth, RegistryAuth::Bearer("hunter2".into()));
    let printed = format!("{basic:?} {bearer:?}");
    assert!(!printed.contains("hunter2") && printed.contains("Basic(key:***)"), "{printed}");
}

#[test]
fn certificates_and_keys_are_read_from_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["windrow".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for (name, text) in [
        ("ca.pem", &*certificate),
        ("key.pem", &*key),
        ("cut.pem", &certificate[..100]),
        ("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let read = |tls: &str| {
        let text = format!("[registry]\nurl = \"https://a\"\ntls = {{ {tls} }}\n[streams.a]\n");
        let name = folder.path().join("w.toml").display().to_string();
        parse(&text, &name, &variables()).map_err(|errors| errors[0].to_string().replace(&name, "w.toml"))
    };
    let good = read(r#"ca = ".", cert = "ca.pem", key = "key.pem""#).unwrap().registry.unwrap().tls;
    let (chain, key) = good.identity.as_ref().unwrap();
    assert_eq!((&good.ca[..], &chain[..]), (&[made.cert.der().clone()][..], &[made.cert.der().clone()][..]));
    assert_eq!(key.secret_der(), made.signing_key.serialize_der());
    assert_eq!(format!("{good:?}"), "RegistryTls(ca: 1 certificates, cert: 1)");
    let mut told = String::new();
    for tls in [
        r#"ca = "cut.pem""#,
        r#"ca = "key.pem""#,
        r#"cert = "ca.pem", key = "ca.pem""#,
        r#"cert = "ca.pem", key = "locked.pem""#,
        r#"ca = "${SECRET}""#,
    ] {
        told += &format!("{}\n", read(tls).unwrap_err());
    }
    expect![[r#"
        w.toml:3:14: ca: "cut.pem" is cut off in a certificate
        w.toml:3:14: ca: "key.pem" holds no certificate in PEM
        w.toml:3:32: key: "ca.pem" holds no private key in PEM
        w.toml:3:32: key: "locked.pem": encrypted keys are not read; `openssl pkey -in key.pem -out plain.pem` decrypts one, and permissions guard the file
        w.toml:3:14: ca: "${SECRET}" cannot be read: No such file or directory (os error 2)
          hint: names of files begin at the folder of the configuration
    "#]].assert_eq(&told);
}

#[test]
fn a_schema_is_registered_nowhere_without_a_registry() {
    check(
        r#"
[streams.orders]
columns = { shop = "text", cents = "bigint" }
[views.bare]
sql = "SELECT shop, sum(cents) AS cents FROM orders GROUP BY shop"
topic = "bare"
topic_format = "avro"
[views.framed]
sql = "SELECT shop, sum(cents) AS cents FROM orders GROUP BY shop"
topic = "framed"
topic_format = "avro-registry"
[views.later]
sql = "SELECT shop, sum(cents) AS cents FROM orders GROUP BY shop"
topic = "later"
topic_format = "csv"
"#,
        expect![[r#"
            w.toml:11:16: `topic_format` = "avro-registry" needs [registry]
              hint: write a table [registry] with url = "http://localhost:8081"
            w.toml:15:16: `topic_format` = "csv" is not available yet
              hint: available are `json`, `json-registry`, `text`, `avro`, `avro-registry`, `protobuf` and `protobuf-registry`
        "#]],
    );
}
