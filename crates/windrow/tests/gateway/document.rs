//! The dialogue in `docs/PROTOCOL.md`, run as it stands.

use serde_json::{Value as Json, json};

use super::world::{Client, Table, World};

const PAGE: &str = include_str!("../../../../docs/PROTOCOL.md");

/// Compares a heard message with the documented one, where `"…"` stands for any text.
fn matches(documented: &Json, heard: &Json) -> bool {
    match (documented, heard) {
        (Json::String(any), Json::String(_)) if any == "…" => true,
        (Json::Object(a), Json::Object(b)) => {
            a.keys().eq(b.keys()) && a.iter().all(|(name, value)| matches(value, &b[name]))
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| matches(a, b)),
        _ => documented == heard,
    }
}

/// Commits `a=1 b=-` and waits until a witness has seen it, so that the dialogue does not overtake the log.
async fn commit(world: &mut World, text: &str, witness: &mut Client, table: &mut Table) {
    let changes: Vec<_> = text.split(' ').map(|change| change.split_once('=').unwrap()).collect();
    let changes: Vec<_> = changes.iter().map(|(id, count)| (*id, 0, count.parse().ok())).collect();
    let mut want = table.clone();
    for (id, start, count) in &changes {
        let key = ((*id).to_owned(), *start);
        match count {
            Some(count) => drop(want.0.insert(key, super::world::likes(id, *start, *count))),
            None => drop(want.0.remove(&key)),
        }
    }
    world.commit(&changes).await;
    witness.hear_until(table, &want).await;
}

#[tokio::test]
async fn the_dialogue_goes_as_documented() {
    let dialogue = PAGE.split("```dialogue\n").nth(1).unwrap().split("```").next().unwrap();
    let mut world = World::start().await;
    let (mut client, mut witness, mut table) = (world.client().await, world.client().await, Table::default());
    witness.ask(json!({"subscribe": "likes", "as": 1})).await;
    for line in dialogue.lines() {
        let (who, what) = line.split_once(' ').unwrap();
        match who {
            "·" => commit(&mut world, what, &mut witness, &mut table).await,
            "→" => client.say(serde_json::from_str(what).unwrap()).await,
            _ => {
                let heard = client.hear().await;
                let documented: Json = serde_json::from_str(what).unwrap();
                assert!(matches(&documented, &heard), "documented {documented}\nheard      {heard}");
            }
        }
    }
}

#[test]
fn every_close_code_is_documented() {
    use windrow::dialect::websocket::close;
    for code in [
        close::NORMAL,
        close::DRAINING,
        close::SLOW,
        close::OVERLOADED,
        close::BAD_REQUEST,
        close::FORBIDDEN,
        close::PROTOCOL_ERROR,
        close::TOO_LARGE,
    ] {
        assert!(PAGE.contains(&format!("| {code} |")), "{code}");
    }
}
