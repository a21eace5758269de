//! The model by itself, asked what records show in the planner's own words.

use countermove_model::{Engine, EngineOptions, Priority, Request, home};
use countermove_planner::perception_schema;

use crate::args::Reader;
use crate::model::{in_background, load_options, parse_source};
use crate::readings::Readings;
use countermove::console::Console;
use countermove::failure::Failure;
use countermove::interrupt::Interrupt;

/// Tokens of an answer, at most.
const ANSWER_TOKENS: u32 = 32;

/// Loads a model and starts it, and opens what it has read before; none if that was interrupted.
pub(crate) async fn start(
    reader: &Reader,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Option<(Engine, Readings)>, Failure> {
    let Reader { which, home: folder, readings } = reader;
    let (source, load) = (parse_source(&which.model)?, load_options(which, None)?);
    let folder = home(folder.clone());
    let start = move |on_fetch: &mut countermove_model::OnFetch<'_>| {
        let model = source.load(&folder, &load, on_fetch).map_err(|error| error.to_string())?;
        Engine::start(model, EngineOptions::default()).map_err(|error| error.to_string())
    };
    let Some(engine) = in_background(console, interrupt, start).await? else { return Ok(None) };
    Ok(Some((engine, Readings::open(readings.as_deref(), which)?)))
}

/// The question as perception asks it.
pub(crate) fn request(system: String, segments: Vec<String>) -> Request {
    Request {
        owner: String::new(),
        common_parts: 0,
        system,
        segments,
        thinking_tokens: 0,
        json_schema: Some(perception_schema()),
        weigh_options: true,
        max_tokens: ANSWER_TOKENS,
        temperature: 0.0,
        top_p: 1.0,
        seed: 0,
        priority: Priority::Bulk,
    }
}
