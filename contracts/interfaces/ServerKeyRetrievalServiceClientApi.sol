// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What clients use to learn the public of a server key.
///
/// The result is told by both events: the longer one is the documented interface, the shorter one
/// is what the contracts of older networks emit.
interface ServerKeyRetrievalServiceClientApi {
    event ServerKeyRetrievalError(bytes32 indexed serverKeyId);
    event ServerKeyRetrieved(bytes32 indexed serverKeyId, bytes serverKeyPublic, uint256 threshold);
    event ServerKeyRetrieved(bytes32 indexed serverKeyId, bytes serverKeyPublic);

    function retrieveServerKey(bytes32 serverKeyId) external payable;
}
