// A stock tRPC client with superjson against our address; prints what it saw as one JSON document.
import {
  createTRPCUntypedClient,
  httpBatchLink,
  httpBatchStreamLink,
  httpLink,
  httpSubscriptionLink,
  TRPCClientError,
} from "@trpc/client";
import { EventSource } from "eventsource";
import superjson from "superjson";

const { WHARF_URL, WHARF_API_KEY, REGISTRY_URL, REGISTRY_USER, REGISTRY_PASSWORD } = process.env;
const options = {
  url: `${WHARF_URL}/api/trpc`,
  transformer: superjson,
  headers: { "x-api-key": WHARF_API_KEY },
};

const registry = {
  registryName: "by tRPC",
  registryUrl: REGISTRY_URL,
  username: REGISTRY_USER,
  password: REGISTRY_PASSWORD,
  registryType: "cloud",
  imagePrefix: "team",
};

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return {
      isClientError: error instanceof TRPCClientError,
      message: error.message,
      data: error.data,
    };
  }
  return null;
}

async function walk(client) {
  const created = await client.mutation("registry.create", registry);
  const [all, one] = await Promise.all([
    client.query("registry.all"),
    client.query("registry.one", { registryId: created.registryId }),
  ]);
  const tested = await client.mutation("registry.testRegistryById", {
    registryId: created.registryId,
  });
  const wrong = await refusal(
    client.mutation("registry.testRegistry", { ...registry, password: "wrong" }),
  );
  const missing = await refusal(client.query("registry.one", { registryId: "registry-123" }));
  const invalid = await refusal(client.mutation("registry.create", { registryName: 7 }));
  const updated = await client.mutation("registry.update", {
    registryId: created.registryId,
    registryName: "renamed",
  });
  const removed = await client.mutation("registry.remove", { registryId: created.registryId });
  return { created, all: all.length, one, tested, wrong, missing, invalid, updated, removed };
}

const batched = await walk(createTRPCUntypedClient({ links: [httpBatchLink(options)] }));
const single = await walk(createTRPCUntypedClient({ links: [httpLink(options)] }));
const streamed = await walk(createTRPCUntypedClient({ links: [httpBatchStreamLink(options)] }));

// The events of a job until the stream ends, which closes the subscription.
class KeyedEventSource extends EventSource {
  constructor(url) {
    super(url, {
      fetch: (input, init) =>
        fetch(input, { ...init, headers: { ...init.headers, "x-api-key": WHARF_API_KEY } }),
    });
  }
}

function follow(jobId) {
  const links = [
    httpSubscriptionLink({
      url: options.url,
      transformer: superjson,
      EventSource: KeyedEventSource,
    }),
  ];
  return new Promise((resolve, reject) => {
    const seen = [];
    createTRPCUntypedClient({ links }).subscription("job.events", { jobId }, {
      onData: ({ id, data }) => seen.push({ id, kind: data.kind, state: data.state }),
      onError: reject,
      onComplete: () => resolve(seen),
    });
  });
}

const plain = createTRPCUntypedClient({ links: [httpLink(options)] });
const { jobs } = await plain.query("job.all", { limit: 1 });
const followed = await follow(jobs[0].jobId);
const unknown = await refusal(follow("nothing"));
console.log(JSON.stringify({ batched, single, streamed, followed, unknown }));
