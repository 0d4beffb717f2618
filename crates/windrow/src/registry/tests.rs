//! Asking: addresses, refusals, what is not there, who asks, and how often.

use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::config::{RegistryAuth, RegistryTls};

#[path = "../../tests/common/registry.rs"]
pub(super) mod double;

use double::Double;

const DEADLINE: Duration = Duration::from_secs(60);

fn config(urls: &[String]) -> RegistryConfig {
    RegistryConfig {
        urls: urls.to_vec(),
        auth: RegistryAuth::None,
        tls: RegistryTls::default(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
    }
}

fn registry(urls: &[String]) -> Arc<Registry> {
    Registry::new(&config(urls), Arc::default()).unwrap()
}

/// Looks until something is known.
async fn found(registry: &Arc<Registry>, id: u32) -> Option<Arc<Answer>> {
    let mut news = registry.news();
    loop {
        news.borrow_and_update();
        match registry.look(id) {
            Look::Found(answer) => return Some(answer),
            Look::Unknown => return None,
            Look::Asked => timeout(DEADLINE, news.changed()).await.expect("an answer").unwrap(),
        }
    }
}

/// Waits until the registry is in trouble, with these words.
async fn trouble(registry: &Arc<Registry>, words: &str) {
    let told = async {
        loop {
            let told = registry.stats.troubles().get("registry").cloned().unwrap_or_default();
            if told.contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, told).await.unwrap_or_else(|_| panic!("not {words}: {:?}", registry.stats.troubles()));
}

#[tokio::test]
async fn one_question_answers_all_who_look_and_those_who_come_later() {
    let double = Double::start().await;
    let id = double.avro("s", "\"int\"");
    let registry = registry(&[double.url()]);
    let looked: Vec<_> = (0..100).map(|_| registry.look(id)).collect();
    assert!(looked.iter().all(|look| matches!(look, Look::Asked)));
    let answer = found(&registry, id).await.unwrap();
    assert_eq!((&*answer.text, answer.kind), ("\"int\"", windrow_core::registry::SchemaKind::Avro));
    assert!(found(&registry, id).await.is_some());
    assert_eq!(double.asked(&format!("/schemas/ids/{id}")), 1);
}

#[tokio::test]
async fn references_come_once_and_each_after_what_it_needs() {
    let double = Double::start().await;
    let refer = |schema: &str, to: &[&str]| {
        let of = |name: &&str| json!({"name": name, "subject": name, "version": 1});
        json!({"schema": schema, "references": to.iter().map(of).collect::<Vec<_>>()})
    };
    double.avro("a/b c", "\"int\"");
    double.register("b", refer("\"long\"", &["a/b c"]));
    double.register("c", refer("\"string\"", &["a/b c", "b"]));
    let id = double.register("d", refer("\"bytes\"", &["c", "b", "a/b c"]));
    let registry = registry(&[double.url()]);
    let answer = found(&registry, id).await.unwrap();
    let texts: Vec<&str> = answer.references.iter().map(|reference| &*reference.text).collect();
    assert_eq!(texts, ["\"int\"", "\"long\"", "\"string\""]);
    assert_eq!(double.asked("/subjects/a%2Fb%20c/versions/1"), 1);
}

#[tokio::test]
async fn an_address_that_fails_is_passed_over_and_what_one_of_them_lacks_is_not_gone() {
    let (one, two) = (Double::start().await, Double::start().await);
    let id = two.avro("s", "\"int\"");
    let registry = registry(&[one.url(), two.url()]);
    // The first does not know it: a replica that lags.
    assert!(found(&registry, id).await.is_some());
    one.fail(Some(500));
    assert!(found(&registry, two.avro("s", "\"long\"")).await.is_some());
    // Not there, says one; but the other may have it.
    two.fail(Some(503));
    one.fail(None);
    registry.look(77);
    trouble(&registry, "503").await;
    two.fail(None);
    assert!(found(&registry, 77).await.is_none());
    assert!(registry.stats.troubles().is_empty());
}

#[tokio::test]
async fn an_unknown_id_is_asked_for_again_before_it_is_believed() {
    let double = Double::start().await;
    let registry = registry(&[double.url()]);
    registry.look(1);
    while double.asked("/schemas/ids/1") == 0 {
        tokio::task::yield_now().await;
    }
    double.avro("s", "\"int\"");
    assert!(found(&registry, 1).await.is_some());
    assert!(found(&registry, 2).await.is_none());
    assert!(double.asked("/schemas/ids/2") >= 3);
    assert!(registry.stats.troubles().is_empty());
}

#[tokio::test]
async fn what_is_no_registry_is_trouble_and_never_a_verdict() {
    let double = Double::start().await;
    double.avro("s", "\"int\"");
    let wrong_path = registry(&[format!("{}/api", double.url())]);
    wrong_path.look(1);
    trouble(&wrong_path, "is the address right?").await;
    double.demand("Bearer right");
    let stranger = registry(&[double.url()]);
    stranger.look(1);
    trouble(&stranger, "401").await;
    let auth = RegistryAuth::Bearer("right".into());
    let known = Registry::new(&RegistryConfig { auth, ..config(&[double.url()]) }, Arc::default()).unwrap();
    assert!(found(&known, 1).await.is_some());
    let nobody = registry(&["http://127.0.0.1:1".into()]);
    nobody.look(1);
    trouble(&nobody, "127.0.0.1:1").await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let double = Double::start().await;
    let id = double.avro("s", &"x".repeat(5 << 20));
    let registry = registry(&[double.url()]);
    registry.look(id);
    trouble(&registry, "limit").await;
}

#[tokio::test]
async fn questions_have_their_bounds_and_all_are_answered_in_turn() {
    let double = Double::start().await;
    let ids: Vec<u32> = (0..ASKED_MAX + 50).map(|n| double.avro("s", &format!("\"{n}\""))).collect();
    let registry = registry(&[double.url()]);
    ids.iter().for_each(|id| drop(registry.look(*id)));
    assert_eq!(registry.state.lock().asked, ASKED_MAX);
    for id in ids {
        assert!(found(&registry, id).await.is_some());
    }
    assert_eq!(registry.state.lock().asked, 0);
}

#[test]
fn texts_and_verdicts_are_forgotten_where_there_is_no_room() {
    let answer = |bytes: usize| {
        let text = "x".repeat(bytes);
        Known::Found(Arc::new(Answer {
            kind: windrow_core::registry::SchemaKind::Avro,
            text,
            references: Vec::new(),
        }))
    };
    let mut state = State { asked: usize::MAX, ..State::default() };
    for id in 0..10 {
        state.settle(id, answer(ANSWERS_MAX_BYTES / 4));
    }
    assert_eq!(state.ids.keys().copied().collect::<Vec<_>>(), [6, 7, 8, 9]);
    for id in 0..UNKNOWN_MAX as u32 + 10 {
        state.settle(100 + id, Known::Unknown { since: Instant::now() });
    }
    assert_eq!((state.unknown, state.ids.len()), (UNKNOWN_MAX, UNKNOWN_MAX + 4));
    assert!(state.ids.contains_key(&(100 + UNKNOWN_MAX as u32 + 9)));
}

/// TLS on top of TCP, for axum.
struct Sealed {
    listener: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Sealed {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((socket, address)) = self.listener.accept().await else { continue };
            if let Ok(sealed) = self.acceptor.accept(socket).await {
                return (sealed, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_alone_and_a_certificate_says_who_asks() {
    use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let signed = |host: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, client) = (signed("127.0.0.1"), signed("windrow"));
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let chain = vec![server.0.der().clone()];
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, server.1.serialize_der().try_into().unwrap())
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let body = json!({"schema": "\"int\""});
    let app = axum::Router::new().fallback(move || async move { axum::Json(body) });
    let sealed = Sealed { listener, acceptor: tokio_rustls::TlsAcceptor::from(Arc::new(tls)) };
    tokio::spawn(async move { axum::serve(sealed, app).await });

    let stranger = registry(std::slice::from_ref(&url));
    stranger.look(1);
    trouble(&stranger, "certificate").await;
    let key = Arc::new(client.1.serialize_der().try_into().unwrap());
    let identity = Some((vec![client.0.der().clone()], key));
    let tls = RegistryTls { ca: vec![ca.der().clone()], identity };
    let known = Registry::new(&RegistryConfig { tls, ..config(&[url]) }, Arc::default()).unwrap();
    assert!(found(&known, 1).await.is_some());
}
