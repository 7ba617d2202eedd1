#pragma once
/// Models of the hub that give vectors and relevances: encoders, which answer no prompts.
#include <memory>

#include "app/embedding_queue.h"
#include "app/model_hub.h"
#include "app/turns.h"

namespace hadal {

/// `waiting`: requests at a time; `memory_bytes`: what the model takes, about. Borrows `turns`.
std::unique_ptr<HubInstance> make_encoder_instance(LoadedEncoder loaded, const HubModel& listed,
                                                   size_t waiting, uint64_t memory_bytes,
                                                   Turns& turns);

/// What facts of an encoder's file say of its use.
std::string_view encoder_task(const GgufFile& file);

/// Work with a generative model goes between two steps of its engine, in the turn of its model.
/// Borrows both.
OnModelThread between_steps_of(Engine& engine, Turns& turns);

}  // namespace hadal
