package audit

// usual is what prompts, replies and tool results have in common, the most frequent last.
// What is stored cannot be read without it: it never changes; see dictionary.
const usual = `{"additionalProperties":false,"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"path":{"type":"string","description":"The path to the file"},"query":{"type":"string","description":"The search query"},"limit":{"type":"integer","minimum":1,"maximum":100,"default":10,"description":"Maximum number of results to return"},"required":["path"]}}` +
	`"input_schema":{"type":"object","properties":{},"required":[]}},{"name":"mcp__","description":"` +
	`{"type":"function","function":{"name":"","description":"","parameters":{"type":"object","properties":{"items":{"type":"array","items":{"type":"string"}},"enum":["` +
	`{"functionDeclarations":[{"name":"","parametersJsonSchema":{"type":"OBJECT"` +
	`{"contents":[{"role":"user","parts":[{"text":"{"functionCall":{"name":"{"functionResponse":{"name":"","response":{"result":"}}}],"generationConfig":{"maxOutputTokens":"systemInstruction":{"parts":[{"text":"` +
	`{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":,"candidatesTokenCount":,"totalTokenCount":},"modelVersion":"gemini-2.5-flash","responseId":"` +
	`{"type":"response.output_text.delta","sequence_number":,"item_id":"msg_","output_index":0,"content_index":0,"delta":"","logprobs":[],"obfuscation":"` +
	`{"type":"response.function_call_arguments.delta","sequence_number":,"item_id":"fc_","output_index":1,"delta":"` +
	`{"type":"response.completed","response":{"id":"resp_","object":"response","created_at":,"status":"completed","model":"gpt-5","output":[{"type":"reasoning","id":"rs_","summary":[]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"","annotations":[]}]},{"type":"function_call","call_id":"call_","name":"","arguments":"{\"` +
	`"parallel_tool_calls":true,"store":false,"tool_choice":"auto","reasoning":{"effort":"medium"},"usage":{"input_tokens":,"input_tokens_details":{"cached_tokens":0},"output_tokens":,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":` +
	`{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}` +
	`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_01","name":"","input":{}}}{"type":"content_block_stop","index":0}{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":}}{"type":"message_stop"}{"type":"ping"}` +
	`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":""}}{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}` +
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"","arguments":{"},"_meta":{"progressToken":` +
	`{"content":[{"type":"text","text":""}],"isError":false,"structuredContent":{"` +
	`{"id":"chatcmpl-","object":"chat.completion","created":17,"model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_","type":"function","function":{"name":"","arguments":"{\"path\":\"\"}"}}],"refusal":null},"logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":,"completion_tokens":,"total_tokens":,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default","system_fingerprint":null}` +
	`{"id":"chatcmpl-","object":"chat.completion.chunk","created":17,"model":"gpt-5-mini","service_tier":"default","system_fingerprint":null,"choices":[{"index":0,"delta":{"role":"assistant","content":"","tool_calls":[{"index":0,"function":{"arguments":""}}]},"logprobs":null,"finish_reason":null}],"usage":null}` +
	`{"model":"claude-sonnet-4-5","max_tokens":8192,"stream":true,"system":[{"type":"text","text":"You are ","cache_control":{"type":"ephemeral"}}],"thinking":{"type":"enabled","budget_tokens":"metadata":{"user_id":"` +
	`"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_","content":[{"type":"text","text":""}],"is_error":false}]},{"role":"assistant","content":[{"type":"text","text":""},{"type":"tool_use","id":"toolu_","name":"","input":{"},{"role":"tool","tool_call_id":"call_","content":"` +
	`{"model":"gpt-5-mini","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"`
