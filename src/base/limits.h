#pragma once
/// Every cap in one place: queues, bodies, files, recursion. A loop over outside data names one.
#include <cstddef>
#include <cstdint>

namespace hadal::limits {

inline constexpr size_t kKiB = 1024;
inline constexpr size_t kMiB = 1024 * kKiB;

// Model files.
inline constexpr uint64_t kGgufStringBytes = 16 * kMiB;
inline constexpr uint64_t kGgufKeyBytes = 64 * kKiB;
inline constexpr uint64_t kGgufTensorNameBytes = 256;  // the format says 64; old files exceed it
inline constexpr uint64_t kGgufMetadataCount = 64 * kKiB;
inline constexpr uint64_t kGgufTensorCount = 64 * kKiB;
inline constexpr uint64_t kGgufAlignmentBytes = kMiB;
inline constexpr uint32_t kGgufDims = 4;
inline constexpr uint32_t kGgufSplitParts = 4096;
inline constexpr uint32_t kPackedParts = 128 * kKiB;    // of a packed image
inline constexpr size_t kGgufJournalBytes = 16 * kMiB;  // beside a file that is being written
inline constexpr uint64_t kSafetensorsHeaderBytes = 100'000'000;  // as the format says
inline constexpr uint64_t kSafetensorsTensorCount = kMiB;         // of all shards
inline constexpr uint64_t kSafetensorsShards = 4096;
inline constexpr int kSafetensorsDims = 4;
inline constexpr size_t kCheckpointJsonBytes = 64 * kMiB;  // config, index, vocabulary
inline constexpr uint64_t kPackedIndexBytes = 256 * kMiB;
inline constexpr uint64_t kPackedImageBytesMin = 16 * kMiB;  // smaller ones pack in no time
inline constexpr size_t kLogQueueBytes = kMiB;               // of lines that wait for their thread
inline constexpr int64_t kModelLayers = 512;
inline constexpr int64_t kModelHeads = 4096;
inline constexpr int64_t kModelContext = 16 * 1024 * 1024;
inline constexpr int64_t kModelWidth = 1024 * 1024;

// Text.
inline constexpr size_t kVocabTokens = 4 * 1024 * 1024;
inline constexpr size_t kTokenBytes = 64 * kKiB;
inline constexpr size_t kCharsmapBytes = 4 * kMiB;
inline constexpr size_t kCharsmapEntryBytes = 256;       // longer replacements are left out
inline constexpr size_t kUnigramPieceBytes = 512;        // longer ones are never found in text
inline constexpr size_t kUnigramWordBytes = 256 * kKiB;  // of text that is cut as a whole
inline constexpr size_t kSpecialTokenBytes = 512;        // longer ones are never found in text
inline constexpr size_t kTemplateSourceBytes = kMiB;
inline constexpr size_t kTemplateOutputBytes = 32 * kMiB;
inline constexpr size_t kTemplateSteps = 600'000;      // below 100 ms on a slow core
inline constexpr size_t kTemplateStepsPerValue = 256;  // more for each value of the request
inline constexpr size_t kTemplateBytesPerStep = 2;     // and for the bytes of its strings
inline constexpr int kTemplateDepth = 64;
inline constexpr int kTemplateCallDepth = 32;
inline constexpr size_t kTemplateTokens = 256 * 1024;
inline constexpr int kTemplateExpressionHeight = 160;  // a chain such as a.b.c|f|g counts each link
inline constexpr int kTemplateRecursion = 1000;  // live evaluator frames, macro calls included
inline constexpr int kTemplateValueDepth = 160;  // lists in lists; above kJsonDepth
inline constexpr size_t kTemplateMemoryBytes = 512 * kMiB;  // live values of one render
inline constexpr size_t kTemplateRange = 100'000;           // as jinja2's sandbox
inline constexpr int64_t kTemplateWidth = 100'000;          // of one padded field or indent

// Grammars of structured output.
inline constexpr size_t kGrammarTextBytes = kMiB;     // of one regular expression or GBNF text
inline constexpr size_t kGrammarNodes = 256 * 1024;   // of one grammar
inline constexpr int kGrammarDepth = 64;              // nesting of a schema, a group, a rule's text
inline constexpr int kGrammarJsonDepth = 32;          // nesting of a JSON value without a schema
inline constexpr uint32_t kGrammarRepeat = 100'000;   // bounds of a repetition
inline constexpr size_t kGrammarChoices = 16 * 1024;  // texts of a list or an enum
inline constexpr size_t kGrammarChoiceBytes = 64 * kKiB;  // of these texts together
inline constexpr size_t kGrammarMarkers = 64;             // of one stretch of free text
inline constexpr size_t kGrammarMarkerBytes = 256;        // of one of them
inline constexpr size_t kGrammarNfaStates = 64 * 1024;    // of one lexeme
inline constexpr size_t kGrammarDfaStates = 16 * 1024;    // of one lexeme
inline constexpr size_t kGrammarDfaWork = 8'000'000;      // steps to make a grammar's automata
inline constexpr size_t kGrammarHeads = 2048;             // readings of one text kept side by side
inline constexpr size_t kGrammarProperties = 1500;        // of one object; each may be a reading
inline constexpr size_t kGrammarStacks = 256 * 1024;      // stack cells of one grammar's matchers
inline constexpr size_t kGrammarCacheBytes = 8 * kMiB;    // masks of one grammar
inline constexpr size_t kLexemeCacheBytes = 64 * kMiB;    // automata and masks of one vocabulary

// Standard input and files of text that commands read.
inline constexpr size_t kTextInputBytes = 1024 * kMiB;

// JSON and HTTP.
inline constexpr int kJsonDepth = 128;
inline constexpr size_t kHttpHeaderBytes = 32 * kKiB;
inline constexpr size_t kHttpHeaderCount = 100;
inline constexpr size_t kHttpTargetBytes = 8 * kKiB;
inline constexpr size_t kHttpBodyBytes = 32 * kMiB;
inline constexpr size_t kWebSocketMessageBytes = kMiB;
inline constexpr int kWebSocketPingsPerSecond = 10;
inline constexpr size_t kStreamUnsentBytes = kMiB;  // a slower reader is cancelled
inline constexpr size_t kConnections = 1024;

// Requests.
inline constexpr int kMessages = 16384;
inline constexpr int kChoices = 16;
inline constexpr size_t kWaitingPulls = 16;                // by clients of a server
inline constexpr size_t kStoredNames = 4096;               // that clients of a server may give
inline constexpr size_t kEmbeddingInputs = 2048;           // texts or documents of one request
inline constexpr size_t kEmbeddingQueueTokens = 4 * kMiB;  // of all requests that wait
inline constexpr int kPrompts = 256;                       // of one completions request, times n
inline constexpr int kStopStrings = 16;
inline constexpr size_t kStopStringBytes = 256;
inline constexpr size_t kCacheSaltBytes = 256;
inline constexpr size_t kUserIdBytes = 512;    // as DeepSeek has it
inline constexpr size_t kStopTokenIds = 1024;  // of a request
inline constexpr size_t kStopIds = 2048;       // with the vocabulary's own ends
inline constexpr int kLogitBiasEntries = 1024;
inline constexpr int kTopLogprobs = 20;
inline constexpr int kQueuedRequests = 4096;             // most that may be configured
inline constexpr int64_t kQueueMicros = 86'400'000'000;  // longest wait to ask for: a day
inline constexpr size_t kTenantBytes = 1024;             // salt and user
inline constexpr int kStreamTokens = 1 << 20;
inline constexpr size_t kToolCallBytes = 4 * kMiB;  // of one call that a model makes
inline constexpr uint32_t kCallsPerAnswer = 16;     // where they are kept to their schemas
inline constexpr size_t kGrammarsKept = 64;         // compiled ones of one model
inline constexpr size_t kToolNameBytes = 256;
inline constexpr int kToolCalls = 1024;                 // of one answer
inline constexpr size_t kSampledTurnBytes = 64 * kMiB;  // kept to be put into later prompts
inline constexpr size_t kStoredResponses = 4096;        // of the Responses API, in memory
inline constexpr size_t kStoredResponseBytes = 128 * kMiB;
inline constexpr int64_t kStoredResponseMicros = 86'400'000'000;  // a day
inline constexpr size_t kResponseQueueBytes = 64 * kMiB;    // of answers on their way to the disk
inline constexpr size_t kResponseEventBytes = 8 * kMiB;     // of one answer, kept to be sent again
inline constexpr size_t kFollowerUnsentBytes = 256 * kKiB;  // of events on their way to one client
inline constexpr int kResponseChain = 1024;                 // answers that build on each other
inline constexpr size_t kResponseMetadata = 16;             // pairs, as OpenAI has it
inline constexpr int kDraftTokens = 16;  // guesses that one step checks for a row

// Pages of keys and values beside the pool.
inline constexpr int64_t kKvPageTokensMax = 4096;         // of one page
inline constexpr uint64_t kKvPageBytesMax = 1024 * kMiB;  // of one page
inline constexpr uint64_t kKvSegmentBytes = 64 * kMiB;    // of a file of pages; more for big caches
inline constexpr uint32_t kKvSegmentSlots = 4096;         // pages of one file
inline constexpr uint64_t kKvSegments = 64 * kKiB;        // files of one model
inline constexpr uint64_t kKvStagingBytes = 64 * kMiB;    // pages on their way to or from a disk,
inline constexpr uint64_t kKvStagingPagesMin = 4;         // each way, but so many
inline constexpr uint64_t kKvStagingPages = 256;          // and no more
inline constexpr size_t kKvPrefetchPages = 4096;          // pages waiting to be read
inline constexpr uint64_t kKvDiskFreeBytes = 1024 * kMiB;  // that a disk keeps free

// Configuration and catalogues.
inline constexpr size_t kConfigFileBytes = 4 * kMiB;

}  // namespace hadal::limits
