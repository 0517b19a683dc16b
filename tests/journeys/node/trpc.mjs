// A stock tRPC client with superjson against our address; prints what it saw as one JSON document.
import { createTRPCUntypedClient, httpBatchLink, httpLink, TRPCClientError } from "@trpc/client";
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
console.log(JSON.stringify({ batched, single }));
