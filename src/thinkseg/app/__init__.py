"""The app: a page where one drops a video, asks, watches the thinking and corrects it, and its REST API.

    schemas     requests and responses of the REST API
    limits      what is accepted: sizes, hosts, tokens, slow clients
    store       videos and questions on disk, within a quota
    processes   processes that do tasks, and can be stopped
    answering   the tasks of the process with the models
    media       the tasks of the processes that decode videos and write formats
    jobs        the queue of questions and their events
    api         the routes
    serve       all of it put together
    static/     the page

The server process itself decodes nothing and loads no model. docs/app.md is the guide.
"""
