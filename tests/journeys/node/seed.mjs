// The first two steps of the seed document's workflow, with its missing `.json()` added.
const address = process.env.WHARF_URL;

// 1. Create registry
const registry = await fetch(`${address}/api/trpc/registry.create`, {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "x-api-key": process.env.API_KEY,
  },
  body: JSON.stringify({
    registryName: "Docker Hub Production",
    registryUrl: process.env.REGISTRY_URL,
    username: process.env.REGISTRY_USER,
    password: process.env.DOCKER_HUB_TOKEN,
    registryType: "cloud",
    imagePrefix: "mycompany/",
  }),
}).then((answer) => answer.json());

// 2. Test registry
const tested = await fetch(`${address}/api/trpc/registry.testRegistryById`, {
  method: "POST",
  headers: {
    "Content-Type": "application/json",
    "x-api-key": process.env.API_KEY,
  },
  body: JSON.stringify({
    registryId: registry.registryId,
  }),
}).then((answer) => answer.json());

console.log(JSON.stringify({ registry, tested }));
