// Drives a server with the official client; prints what it saw as one JSON object.
import OpenAI, { AuthenticationError, BadRequestError } from "openai";

const client = new OpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: process.env.KEY,
  maxRetries: 0,
  timeout: 60_000,
});
const messages = [{ role: "user", content: "What is the capital of France? Answer shortly." }];
const seen = {};

seen.models = (await client.models.list()).data.map((model) => model.id);

const whole = await client.chat.completions.create({
  model: "chat", messages, temperature: 0, max_completion_tokens: 12,
});
seen.whole = whole.choices[0].message.content;

const stream = await client.chat.completions.create({
  model: "chat", messages, temperature: 0, max_completion_tokens: 12,
  stream: true, stream_options: { include_usage: true },
});
seen.streamed = "";
seen.parts = 0;
for await (const chunk of stream) {
  const text = chunk.choices[0]?.delta?.content ?? "";
  seen.streamed += text;
  seen.parts += text ? 1 : 0;
  seen.usage = chunk.usage ?? seen.usage;
}

const tools = [{
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 20 } },
      required: ["city"],
      additionalProperties: false,
    },
  },
}];
const runner = client.chat.completions.stream({
  model: "chat", tools, tool_choice: "required", temperature: 0, max_completion_tokens: 64,
  messages: [{ role: "user", content: "How is the weather in Oslo?" }],
});
const called = (await runner.finalChatCompletion()).choices[0];
seen.tool = called.message.tool_calls.map((call) => call.function);
seen.toolReason = called.finish_reason;

const embedded = await client.embeddings.create({ model: "words", input: ["the cat", "car"] });
const floats = await client.embeddings.create({
  model: "words", input: ["the cat", "car"], encoding_format: "float",
});
seen.sizes = embedded.data.map((one) => one.embedding.length);
seen.agree = embedded.data.every((one, at) =>
  one.embedding.every((value, place) => value === Math.fround(floats.data[at].embedding[place])));

try {
  await client.chat.completions.create({ model: "chat", messages, colour: "red" });
} catch (error) {
  seen.refused = { isBadRequest: error instanceof BadRequestError, param: error.param };
}
try {
  await new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "wrong", maxRetries: 0 }).models.list();
} catch (error) {
  seen.stranger = error instanceof AuthenticationError;
}

const controller = new AbortController();
const left = await client.chat.completions.create(
  { model: "chat", messages, stream: true, max_completion_tokens: 900 },
  { signal: controller.signal },
);
for await (const _ of left) {
  controller.abort();
}
seen.left = true;

console.log(JSON.stringify(seen));
