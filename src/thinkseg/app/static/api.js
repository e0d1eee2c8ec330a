// The REST API of the server (docs/app.md).

/** Sends a request, and returns the JSON of its response. Throws an Error with the server's one-line reason. */
export async function request(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const response = await fetch(`api/${path}`, options).catch(() => {
    throw new Error("the server does not answer; is thinkseg app still running?");
  });
  if (!response.ok) throw new Error(await reason(response));
  return response.status === 204 ? null : response.json();
}

async function reason(response) {
  const body = await response.json().catch(() => ({}));
  return body.error || `the server answers with status ${response.status}`;
}

export const get = (path) => request("GET", path);
export const post = (path, body) => request("POST", path, body);
export const remove = (path) => request("DELETE", path);

/** Uploads a file. onProgress: called with the share that is sent. */
export function upload(file, onProgress) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", `api/videos?name=${encodeURIComponent(file.name.slice(-300))}`);
    sending.responseType = "json";
    sending.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    sending.onerror = () => reject(new Error("the upload broke off"));
    sending.onload = () => {
      if (sending.status === 201) resolve(sending.response);
      else reject(new Error(sending.response?.error || `the server answers with status ${sending.status}`));
    };
    sending.send(file);
  });
}

/** Follows the events of a question, and starts again after a lost connection. Returns a function that ends it. */
export function follow(question, onStart, onEvent) {
  const source = new EventSource(`api/questions/${question}/events`);
  source.onopen = onStart;
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type === "state" && ["done", "failed", "cancelled"].includes(event.state)) source.close();
    onEvent(event);
  };
  return () => source.close();
}

/** Returns the JPEGs in a block of frames, as Blobs. */
export async function frameBlock(video, frame) {
  const response = await fetch(`api/videos/${video}/frames?frame=${frame}`);
  if (!response.ok) throw new Error(await reason(response));
  const buffer = await response.arrayBuffer(), view = new DataView(buffer), found = [];
  for (let at = 0; at < buffer.byteLength; ) {
    const length = view.getUint32(at, true);
    found.push(new Blob([new Uint8Array(buffer, at + 4, length)], { type: "image/jpeg" }));
    at += 4 + length;
  }
  return found;
}

export const thumbnail = (video, frame) => `api/videos/${video}/frame?small=true&index=${frame}`;
export const download = (question, format) => `api/questions/${question}/files/${format}`;
