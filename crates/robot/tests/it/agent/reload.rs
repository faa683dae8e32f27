use recording::Kind;
use robot::agent::Agent;

use super::{Place, stop, until};

fn buffers(agent: &Agent) -> Vec<String> {
    agent.tape().status().buffers.into_iter().filter(|buffer| buffer.place != "retired").map(|buffer| buffer.name).collect()
}

#[test]
fn a_good_configuration_is_taken_when_its_file_changes() {
    let place = Place::new();
    let agent = place.start();
    assert_eq!(buffers(&agent), ["all", "recorder"]);
    place.configure("[[buffer]]\nname = 'first'\ndisk = '1 h'\n");
    until("the change is noticed", || buffers(&agent) == ["first", "recorder"]);
    stop(agent);
    assert_eq!(place.events()["config_loaded"].len(), 1);
}

#[test]
fn a_bad_configuration_is_refused_with_its_line_and_the_old_one_stays() {
    let place = Place::new();
    let agent = place.start();
    place.configure("\n[[buffer]]\nname = 'first'\ndisk = '1 parsec'\n");
    let logged = || agent.tape().status().buffers.iter().find(|buffer| buffer.name == "recorder").map(|buffer| buffer.messages);
    let before = logged();
    until("it is refused", || logged() > before);
    assert_eq!(buffers(&agent), ["all", "recorder"]);
    place.configure("[[buffer]]\nname = 'second'\ndisk = '1 h'\n");
    until("a good one is taken", || buffers(&agent) == ["second", "recorder"]);
    stop(agent);
    let refused = &place.events()["config_refused"];
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("the new configuration is refused, the old one stays: "), "{refused:?}");
    assert!(refused[0].contains(" line 4: ") || refused[0].contains(" line 2: "), "{refused:?}");
}

#[test]
fn an_agent_does_not_start_with_a_bad_configuration() {
    let place = Place::new();
    place.configure("devcie = 'rover'");
    let error = Agent::start(place.options()).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().contains("line 1: unknown field `devcie`"), "{error}");
}

#[test]
fn a_change_that_cannot_be_made_while_recording_is_refused() {
    let place = Place::new();
    place.configure("device = 'rover-7'");
    let agent = place.start();
    place.configure("device = 'rover-8'");
    agent.reload();
    let refused = || agent.tape().status().buffers.iter().any(|buffer| buffer.name == "recorder" && buffer.messages > 0);
    until("it is refused", refused);
    stop(agent);
    assert!(place.events()["config_refused"][0].contains("restart the agent"));
}
