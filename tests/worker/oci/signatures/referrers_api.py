"""A front of a real registry that has the referrers API, which the distribution project lacks."""

import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.worker.oci.sample_images import INDEX, digest_of

PAGE = 2


@dataclass
class ReferrersApi:
    """Remember the subject of each manifest that is stored; list `PAGE` referrers at once."""

    registry: str
    entries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def intercept(self, request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" in request.path:
            return self._list(request)
        if request.method != "PUT" or "/manifests/" not in request.path:
            return None
        content = await request.read()
        headers = {"Content-Type": request.content_type}
        headers |= {k: v for k, v in request.headers.items() if k == "Authorization"}
        url = f"http://{self.registry}{request.rel_url}"
        async with (
            aiohttp.ClientSession() as session,
            session.put(url, data=content, headers=headers) as answer,
        ):
            body = await answer.read()
            kept = {"Docker-Content-Digest", "WWW-Authenticate"}
            sent = {k: v for k, v in answer.headers.items() if k in kept}
        if answer.status == 201 and (subject := json.loads(content).get("subject")):
            sent["OCI-Subject"] = subject["digest"]
            self._add(subject["digest"], request.content_type, content)
        return web.Response(status=answer.status, headers=sent, body=body)

    def _add(self, subject: str, media_type: str, content: bytes) -> None:
        document = json.loads(content)
        entry = {
            "mediaType": media_type,
            "digest": digest_of(content),
            "size": len(content),
            "artifactType": document.get("artifactType") or document["config"]["mediaType"],
            "annotations": document.get("annotations", {}),
        }
        listed = self.entries.setdefault(subject, [])
        if entry not in listed:
            listed.append(entry)

    def _list(self, request: web.Request) -> web.StreamResponse:
        listed = self.entries.get(request.path.rpartition("/")[2], [])
        start = int(request.query.get("start", "0"))
        body = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": listed[start : start + PAGE],
        }
        after = start + PAGE
        link = {"Link": f'<{request.path}?start={after}>; rel="next"'} if listed[after:] else {}
        return web.json_response(body, headers=link, content_type=INDEX)
