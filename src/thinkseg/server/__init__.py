"""A policy in this process behind OpenAI's API, so that scripts written against vLLM or a cloud work unchanged.

    POST /v1/chat/completions   text and pictures in data URLs; n, temperature, max_tokens, seed, stream; usage
    GET  /v1/models             the one model, and how it is shown videos and writes boxes
    GET  /health                whether anybody is there

`requests` reads what is asked, `pictures` what is shown, `desk` has it answered, `responses` words the answer, `app`
ties them to HTTP. Everything that comes in is untrusted: it is bounded before it is read, and nothing is ever fetched.
"""
