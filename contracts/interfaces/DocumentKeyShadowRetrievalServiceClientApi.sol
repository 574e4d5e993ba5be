// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What clients use to get a document key back, decrypted for them alone.
interface DocumentKeyShadowRetrievalServiceClientApi {
    event DocumentKeyCommonRetrieved(
        bytes32 indexed serverKeyId,
        address indexed requester,
        bytes commonPoint,
        uint8 threshold
    );
    event DocumentKeyPersonalRetrieved(
        bytes32 indexed serverKeyId,
        address indexed requester,
        bytes decryptedSecret,
        bytes shadow
    );
    event DocumentKeyShadowRetrievalError(bytes32 indexed serverKeyId, address indexed requester);

    function retrieveDocumentKeyShadow(bytes32 serverKeyId, bytes calldata requesterPublic) external payable;
}
